//! A CA, or what stands before it, that misbehaves.
#![cfg(test)]

use crate::client::{Store, adapter_within, issuer, order};
use crate::fake::{Act, Asked, FakeCa, authorization, problem, reply};
use everleaf::acme::AcmeCa;
use everleaf::config::spec::Limits;
use everleaf::ports::{Ca, NewOrder, OrderStatus};
use everleaf::types::{Class, Failure};
use serde_json::json;
use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Runs `test` against a CA with this script.
async fn with_ca(script: impl Fn(&Asked, &str) -> Option<Act> + 'static, test: impl AsyncFnOnce(AcmeCa, &FakeCa)) {
    within(Limits::default().request, script, test).await;
}

/// The same, with this limit on a request.
async fn within(
    request: Duration,
    script: impl Fn(&Asked, &str) -> Option<Act> + 'static,
    test: impl AsyncFnOnce(AcmeCa, &FakeCa),
) {
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            let fake = FakeCa::start(script).await;
            let limits = Limits { request, ..Limits::default() };
            let ca = adapter_within(&issuer(&fake.directory(), None), &Rc::<Store>::default(), &limits);
            test(ca, &fake).await;
        })
        .await;
}

/// Answers `path` with `act` as often as `times`.
fn at(path: &'static str, times: usize, act: impl Fn() -> Act + 'static) -> impl Fn(&Asked, &str) -> Option<Act> {
    let left = Cell::new(times);
    move |asked, _| {
        if asked.path != path || left.get() == 0 {
            return None;
        }
        left.set(left.get() - 1);
        Some(act())
    }
}

fn seen(failure: &Failure) -> (Class, &str) {
    (failure.class, failure.code.as_str())
}

const NAMES: [&str; 2] = ["a.example.org", "b.example.org"];

#[tokio::test]
async fn without_faults_it_issues() {
    with_ca(
        |_, _| None,
        async |ca, fake| {
            let opened = ca.open_order(&order(&NAMES)).await.expect("an order");
            let authorizations = ca.authorizations(&opened.url).await.expect("authorizations");
            let challenges: Vec<String> = authorizations.iter().map(|a| a.challenges[0].url.clone()).collect();
            ca.answer(&opened.url, &challenges).await.expect("told");
            assert_eq!(ca.look(&opened.url).await.expect("a look").status, OrderStatus::Ready);
            assert_eq!(ca.finalize(&opened.url, b"csr").await.expect("finalized").status, OrderStatus::Valid);
            assert_eq!(ca.chain(&opened.url).await.expect("a chain"), b"-----BEGIN CERTIFICATE-----\n");
            assert_eq!((fake.count("/dir"), fake.count("/nonce"), fake.count("/account")), (1, 1, 1));
        },
    )
    .await;
}

#[tokio::test]
async fn a_lost_reply_is_a_failure_and_never_a_second_certificate() {
    with_ca(at("/order", 1, || Act::LoseReply), async |ca, fake| {
        let lost = ca.open_order(&order(&NAMES)).await.expect_err("lost");
        assert_eq!(seen(&lost), (Class::Retry, "net:closed"));
        assert_eq!(fake.count("/order"), 1, "nothing is sent twice by itself");
        ca.open_order(&order(&NAMES)).await.expect("an order");
    })
    .await;
    with_ca(at("/finalize", 1, || Act::LoseReply), async |ca, fake| {
        let opened = ca.open_order(&order(&NAMES)).await.expect("an order");
        assert_eq!(seen(&ca.finalize(&opened.url, b"csr").await.expect_err("lost")), (Class::Retry, "net:closed"));
        let shown = ca.finalize(&opened.url, b"csr").await.expect("as it stands");
        assert_eq!(shown.status, OrderStatus::Valid);
        assert_eq!(fake.count("/finalize"), 2);
    })
    .await;
}

#[tokio::test]
async fn retry_after_is_a_minimum_in_both_forms() {
    let dated = || {
        let Act::Reply(status, mut headers, body) = problem(429, "rateLimited", "too many") else { unreachable!() };
        headers.push(("Date", "Sun, 22 Nov 2026 10:00:00 GMT".into()));
        headers.push(("Retry-After", "Sun, 22 Nov 2026 11:00:00 GMT".into()));
        headers.push(("Link", "<https://ca.test/rate-limits>;rel=\"help\"".into()));
        Act::Reply(status, headers, body)
    };
    with_ca(at("/order", 1, dated), async |ca, _| {
        let failure = ca.open_order(&order(&NAMES)).await.expect_err("limited");
        assert_eq!(seen(&failure), (Class::HoldUntil, "acme:rateLimited"));
        assert_eq!(failure.retry_after, Some(Duration::from_secs(3600)));
        assert!(failure.details.iter().any(|line| line.as_str() == "see https://ca.test/rate-limits"), "{failure:?}");
    })
    .await;
    with_ca(
        |asked, base| {
            let order = json!({"status": "processing", "identifiers": [], "authorizations": [],
                               "finalize": format!("{base}/finalize"), "expires": "2026-12-01T00:00:00Z"});
            (asked.path == "/order/1").then(|| Act::Reply(200, vec![("Retry-After", "7".into())], order.to_string()))
        },
        async |ca, fake| {
            let look = ca.look(&format!("http://{}/order/1", fake.address)).await.expect("a look");
            assert_eq!((look.status, look.retry_after), (OrderStatus::Processing, Some(Duration::from_secs(7))));
            assert_eq!(look.expires.expect("an instant").to_string(), "2026-12-01T00:00:00Z");
        },
    )
    .await;
}

#[tokio::test]
async fn html_instead_of_a_problem_keeps_its_status() {
    let html = |status: u16, wait: Option<&str>| {
        let headers = wait.map(|wait| ("Retry-After", wait.to_owned())).into_iter().collect::<Vec<_>>();
        Act::Reply(status, headers, "<html><h1>\u{1b}[31mService Unavailable</h1></html>".to_owned())
    };
    for (status, wait, class) in [
        (503, Some("120"), Class::HoldUntil),
        (503, None, Class::Retry),
        (502, None, Class::Retry),
        (403, None, Class::Operator),
        (307, None, Class::Retry),
        (308, None, Class::Operator),
    ] {
        with_ca(at("/order", usize::MAX, move || html(status, wait)), async |ca, fake| {
            let failure = ca.open_order(&order(&NAMES)).await.expect_err("refused");
            assert_eq!(seen(&failure), (class, format!("acme:http{status}").as_str()));
            assert_eq!(failure.retry_after, wait.map(|_| Duration::from_secs(120)));
            assert!(failure.details.iter().any(|line| line.as_str().contains("[31mService")), "{failure:?}");
            assert_eq!(fake.count("/order"), 1);
        })
        .await;
    }
    let portal = || Act::Reply(200, vec![], "<html>please log in</html>".to_owned());
    with_ca(at("/dir", usize::MAX, portal), async |ca, _| {
        assert_eq!(seen(&ca.offers().await.expect_err("a portal")), (Class::Retry, "acme:unreadable"));
    })
    .await;
}

#[tokio::test]
async fn bodies_are_bounded_whether_or_not_their_length_is_told() {
    with_ca(at("/order/1", 1, || Act::Flood(64 << 20)), async |ca, fake| {
        let failure = ca.look(&format!("http://{}/order/1", fake.address)).await.expect_err("64 MB");
        assert_eq!(failure.code, "net:tooLarge");
    })
    .await;
    let pem = |octets: usize| Act::Reply(200, vec![], format!("-----BEGIN {}", "x".repeat(octets)));
    for (octets, fits) in [(200 << 10, true), (257 << 10, false)] {
        with_ca(at("/certificate", 1, move || pem(octets)), async |ca, _| {
            let opened = ca.open_order(&order(&NAMES)).await.expect("an order");
            ca.finalize(&opened.url, b"csr").await.expect("finalized");
            let chain = ca.chain(&opened.url).await.map_err(|failure| failure.code);
            assert_eq!(chain.map(|chain| chain.len()), if fits { Ok(octets + 11) } else { Err("net:tooLarge".into()) });
        })
        .await;
    }
}

#[tokio::test]
async fn a_trickle_and_silence_end_at_the_request_limit() {
    for act in [|| Act::Trickle("{".into()), || Act::Silence] {
        within(Duration::from_secs(2), at("/order", 1, act), async |ca, _| {
            let begun = Instant::now();
            let failure = ca.open_order(&order(&NAMES)).await.expect_err("too slow");
            assert_eq!(seen(&failure), (Class::Retry, "net:timeout"));
            assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        })
        .await;
    }
}

#[tokio::test]
async fn a_token_that_is_a_path_is_refused() {
    for token in ["../../etc/cron.d/x", "", "a b"] {
        let hostile = move |asked: &Asked, base: &str| {
            let identifier = json!({"type": "dns", "value": "a.example.org"});
            (asked.path == "/authz/0")
                .then(|| reply(&authorization(&identifier, &format!("{base}/challenge/0"), token)))
        };
        with_ca(hostile, async |ca, _| {
            let opened = ca.open_order(&order(&["a.example.org"])).await.expect("an order");
            let failure = ca.authorizations(&opened.url).await.expect_err("hostile");
            assert_eq!(seen(&failure), (Class::Operator, "acme:badToken"));
        })
        .await;
    }
}

#[tokio::test]
async fn names_that_were_not_asked_for_are_refused() {
    let foreign = |asked: &Asked, base: &str| {
        let identifier = json!({"type": "dns", "value": "victim.example.org"});
        (asked.path == "/authz/1").then(|| reply(&authorization(&identifier, &format!("{base}/challenge/1"), "token")))
    };
    with_ca(foreign, async |ca, _| {
        let opened = ca.open_order(&order(&NAMES)).await.expect("an order");
        let failure = ca.authorizations(&opened.url).await.expect_err("foreign");
        assert_eq!(seen(&failure), (Class::Operator, "acme:foreignIdentifiers"));
    })
    .await;
    let other_order = |asked: &Asked, base: &str| {
        let order = json!({"status": "pending", "identifiers": [{"type": "dns", "value": "victim.example.org"}],
                           "authorizations": [], "finalize": format!("{base}/finalize")});
        let location = vec![("Location", format!("{base}/order/1"))];
        (asked.path == "/order").then(|| Act::Reply(201, location, order.to_string()))
    };
    with_ca(other_order, async |ca, _| {
        let failure = ca.open_order(&order(&["a.example.org"])).await.expect_err("foreign");
        assert_eq!(seen(&failure), (Class::Operator, "acme:foreignIdentifiers"));
    })
    .await;
}

#[tokio::test]
async fn urls_of_an_order_are_checked_and_bounded() {
    let long = format!("https://ca.test/{}", "a".repeat(3000));
    for bad in ["http://ca.test/authz", "file:///etc/passwd", "https://user:pw@ca.test/", "nonsense", &long] {
        let bad = bad.to_owned();
        let script = move |asked: &Asked, base: &str| {
            let order = json!({"status": "pending", "identifiers": asked.payload["identifiers"],
                               "authorizations": [bad], "finalize": format!("{base}/finalize")});
            let location = vec![("Location", format!("{base}/order/1"))];
            (asked.path == "/order").then(|| Act::Reply(201, location, order.to_string()))
        };
        with_ca(script, async |ca, _| {
            let failure = ca.open_order(&order(&["a.example.org"])).await.expect_err("refused");
            assert_eq!(seen(&failure), (Class::Operator, "acme:badUrl"));
        })
        .await;
    }
    let many = |asked: &Asked, base: &str| {
        let urls: Vec<String> = (0..10_000).map(|number| format!("{base}/authz/{number}")).collect();
        let order = json!({"status": "pending", "identifiers": asked.payload["identifiers"],
                           "authorizations": urls, "finalize": format!("{base}/finalize")});
        let location = vec![("Location", format!("{base}/order/1"))];
        (asked.path == "/order").then(|| Act::Reply(201, location, order.to_string()))
    };
    with_ca(many, async |ca, _| {
        assert_eq!(ca.open_order(&order(&NAMES)).await.expect_err("refused").code, "acme:unreadable");
    })
    .await;
}

#[tokio::test]
async fn a_redirect_of_a_post_is_not_followed() {
    let redirect = |asked: &Asked, base: &str| {
        (asked.path == "/order")
            .then(|| Act::Reply(307, vec![("Location", format!("{base}/elsewhere"))], String::new()))
    };
    with_ca(redirect, async |ca, fake| {
        assert_eq!(ca.open_order(&order(&NAMES)).await.expect_err("refused").code, "acme:http307");
        assert_eq!(fake.count("/elsewhere"), 0);
    })
    .await;
    let moved = |asked: &Asked, base: &str| {
        let elsewhere = vec![("Location", format!("{base}/dir2"))];
        match asked.path.as_str() {
            "/dir" => Some(Act::Reply(301, elsewhere, String::new())),
            "/dir2" => Some(Act::Reply(302, vec![("Location", "/dir".into())], String::new())),
            _ => None,
        }
    };
    with_ca(moved, async |ca, fake| {
        assert_eq!(ca.offers().await.expect_err("round and round").code, "net:redirects");
        assert_eq!(fake.count("/dir") + fake.count("/dir2"), 4, "a GET is followed three times");
    })
    .await;
}

#[tokio::test]
async fn an_order_that_does_not_reflect_replaces_is_kept() {
    let silent = |asked: &Asked, base: &str| {
        let order = json!({"status": "pending", "identifiers": [{"type": "dns", "value": "a.example.org"}],
                           "authorizations": [format!("{base}/authz/0")], "finalize": format!("{base}/finalize")});
        match asked.path.as_str() {
            "/order" => Some(Act::Reply(201, vec![("Location", format!("{base}/order/1"))], order.to_string())),
            "/order/1" => Some(reply(&order)),
            _ => None,
        }
    };
    with_ca(silent, async |ca, fake| {
        let replaces = Some("aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE".to_owned());
        let asked = NewOrder { replaces, ..order(&["a.example.org"]) };
        let opened = ca.open_order(&asked).await.expect("the order that was spent");
        assert!(opened.replaces_dropped && opened.url.ends_with("/order/1"));
        assert_eq!(fake.count("/order"), 1);
    })
    .await;
}

#[tokio::test]
async fn bad_nonces_without_end_come_to_an_end() {
    with_ca(at("/order", usize::MAX, || problem(400, "badNonce", "never")), async |ca, fake| {
        let failure = ca.open_order(&order(&NAMES)).await.expect_err("never");
        assert_eq!(seen(&failure), (Class::Retry, "acme:badNonce"));
        assert_eq!((fake.count("/order"), fake.count("/nonce")), (64, 1), "each with the nonce of the error");
        assert_eq!(ca.requests().bad_nonces, 64);
    })
    .await;
}

#[tokio::test]
async fn a_paused_account_shows_its_portal() {
    let detail = "Your account is temporarily prevented from requesting certificates for a.example.org and possibly \
                  others. Please visit: https://portal.ca.test/sfe/v1/unpause?jwt=abc.";
    with_ca(at("/order", 1, move || problem(429, "rateLimited", detail)), async |ca, _| {
        let failure = ca.open_order(&order(&NAMES)).await.expect_err("paused");
        assert_eq!(seen(&failure), (Class::Operator, "acme:paused"));
        let portal = "open https://portal.ca.test/sfe/v1/unpause?jwt=abc";
        assert!(failure.details.iter().any(|line| line.as_str() == portal), "{failure:?}");
    })
    .await;
}

#[tokio::test]
async fn a_failed_registration_is_shared_by_those_who_waited() {
    with_ca(at("/account", usize::MAX, || problem(429, "rateLimited", "too many registrations")), async |ca, fake| {
        let orders = [order(&["a.example.org"]), order(&["b.example.org"]), order(&["c.example.org"])];
        let refused = futures_util::future::join_all(orders.iter().map(|order| ca.open_order(order))).await;
        assert!(refused.iter().all(|outcome| outcome.as_ref().is_err_and(|f| f.code == "acme:rateLimited")));
        assert_eq!(fake.count("/account"), 1);
    })
    .await;
}

#[tokio::test]
async fn renewal_information_that_hangs_costs_its_budget_and_no_more() {
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            let script = |asked: &Asked, _: &str| asked.path.starts_with("/ari/").then_some(Act::Silence);
            let fake = FakeCa::start(script).await;
            let issuer = issuer(&fake.directory(), None);
            let ca = adapter_within(&issuer, &Rc::<Store>::default(), &Limits::default());
            let begun = Instant::now();
            let failure = ca.renewal_info("aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE").await.expect_err("silence");
            assert_eq!((seen(&failure), failure.retry_after), ((Class::Retry, "net:timeout"), None));
            assert!((9..12).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
            let another = ca.renewal_info("aYhba4dGQEHhs3uEe6CuLN4ByNQ.BIdlQyE").await.expect_err("silence");
            assert_eq!((seen(&another), another.retry_after), ((Class::Retry, "net:timeout"), None));
            assert!(begun.elapsed().as_secs() < 12, "one silence answers for every certificate");
        })
        .await;
}

#[tokio::test]
async fn a_ca_without_renewal_information_is_asked_for_none() {
    let without = |asked: &Asked, base: &str| {
        let directory = json!({"newNonce": format!("{base}/nonce"), "newAccount": format!("{base}/account"),
                               "newOrder": format!("{base}/order")});
        (asked.path == "/dir").then(|| reply(&directory))
    };
    with_ca(without, async |ca, _| {
        let id = "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE".to_owned();
        assert_eq!(ca.renewal_info(&id).await.expect_err("none").code, "ari:unsupported");
        let opened = ca.open_order(&NewOrder { replaces: Some(id), ..order(&NAMES) }).await.expect("an order");
        assert!(opened.replaces_dropped);
    })
    .await;
}

#[tokio::test]
async fn the_clocks_difference_is_known_from_any_reply() {
    let dated = || {
        let headers = vec![("Date", "Thu, 01 Jan 2026 00:00:00 GMT".to_owned())];
        Act::Reply(503, headers, String::new())
    };
    with_ca(at("/dir", usize::MAX, dated), async |ca, _| {
        assert_eq!(ca.clock_offset(), None);
        ca.offers().await.expect_err("busy");
        assert!(ca.clock_offset().expect("an offset") > 300 * 86_400);
    })
    .await;
}
