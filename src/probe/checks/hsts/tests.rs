use super::*;
use crate::probe::survey::http::{Head, Mute, Reply, Spoken};
use crate::types::Timestamp;
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

fn read(text: &str) -> Option<(u64, bool, bool)> {
    parse(text.as_bytes()).ok().map(|it| (it.max_age, it.subdomains, it.preload))
}

#[test]
fn a_field_is_read_by_the_rules_of_the_rfc() {
    for (text, expected) in [
        // The RFC's own examples (§6.2).
        ("max-age=31536000", (31_536_000, false, false)),
        ("max-age=15768000 ; includeSubDomains", (15_768_000, true, false)),
        ("max-age=\"31536000\"", (31_536_000, false, false)),
        ("max-age=0", (0, false, false)),
        ("max-age=0; includeSubDomains", (0, true, false)),
        // Names in any case, in any order, with white space wherever it is implied.
        ("MAX-AGE=1; INCLUDESUBDOMAINS; PreLoad", (1, true, true)),
        ("includeSubDomains;max-age=1", (1, true, false)),
        ("  max-age = 1\t;  preload  ", (1, false, true)),
        ("max-age= \"1\" ;", (1, false, false)),
        // Empty directives.
        (";; max-age=1;;", (1, false, false)),
        // What is not known is ignored, whatever its value.
        ("max-age=1; foo; bar=baz; qux=\"a;b\\\"c\"", (1, false, false)),
        ("max-age=1; preload=yes", (1, false, false)),
        ("max-age=\"\\1\"", (1, false, false)),
        ("max-age=000001", (1, false, false)),
        ("max-age=99999999999999999999999999", (u64::MAX, false, false)),
    ] {
        assert_eq!(read(text), Some(expected), "{text:?}");
    }
}

#[test]
fn what_browsers_ignore_is_not_valid() {
    for text in [
        "",
        ";",
        "includeSubDomains",
        "max-age",
        "max-age=",
        "max-age=\"\"",
        "max-age=-1",
        "max-age=1.5",
        "max-age=1d",
        "max-age='1'",
        "max-age=\"1",
        "max-age=0x10",
        "max-age:31536000",
        "max-age=1 includeSubDomains",
        "max-age=1, includeSubDomains",
        "max-age=1, max-age=1",
        "max-age=1; max-age=1",
        "max-age=1; max-age=2",
        "max-age=1; includeSubDomains; includeSubdomains",
        "max-age=1; includeSubDomains=true",
        "max-age=1; foo; foo",
        "max-age=1; =2",
        "max-age=1; foo=",
        "max-age=1; f\u{fc}r",
        "max age=1",
        "\u{201c}max-age=1\u{201d}",
    ] {
        // `foo=` has no value, and by the grammar one must follow the sign; browsers forgive it, and so is it here.
        assert_eq!(read(text).is_some(), text == "max-age=1; foo=", "{text:?}");
    }
}

proptest! {
    #[test]
    fn a_field_that_is_written_by_the_rules_is_read(
        age: u64, subdomains: bool, preload: bool, quoted: bool, space in "[ \t]{0,3}", more in "[a-z]{3}(=[a-z0-9]{1,4})?", order in 0usize..24
    ) {
        let age_text = if quoted { format!("max-age=\"{age}\"") } else { format!("mAx-aGe{space}={space}{age}") };
        let mut directives = vec![age_text, format!("x-{more}")];
        directives.extend(subdomains.then(|| "IncludeSubDomains".to_owned()));
        directives.extend(preload.then(|| "preload".to_owned()));
        let turn = order % directives.len();
        directives.rotate_left(turn);
        let text = directives.join(&format!("{space};{space}"));
        prop_assert_eq!(read(&text), Some((age, subdomains, preload)), "{}", text);
        // Any of them twice makes it invalid.
        let twice = format!("{text};{}", directives[0]);
        prop_assert_eq!(read(&twice), None, "{}", twice);
    }

    #[test]
    fn any_bytes_give_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _any = parse(&bytes);
    }
}

/// An answer with this status and these fields.
#[expect(clippy::unnecessary_wraps, reason = "as a look answers")]
pub(crate) fn answer(status: u16, fields: &[(&str, &str)]) -> Result<Spoken, Mute> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    let head = Head { status, headers };
    Ok(Spoken { first: Reply { path: "/".into(), head, at: Timestamp::from_secs(0) }, onward: Vec::new() })
}

fn host(text: &str) -> Identifier {
    text.parse().unwrap()
}

struct Case<'a> {
    host: &'a str,
    fields: &'a [&'a str],
    plain: Option<Result<Spoken, Mute>>,
    good: bool,
}

impl Case<'_> {
    fn judged(&self) -> Vec<Finding> {
        let fields: Vec<(&str, &str)> = self.fields.iter().map(|it| ("strict-transport-security", *it)).collect();
        judge(&Policy {
            host: &host(self.host),
            port: 443,
            secure: &answer(200, &fields),
            plain: self.plain.as_ref(),
            plain_port: 80,
            certificate_good: self.good,
            client_certificate_asked: false,
            below: &[],
        })
    }

    fn labels(&self) -> String {
        self.judged().iter().map(|it| it.label.as_str()).collect::<Vec<_>>().join(" ")
    }
}

const FULL: &str = "max-age=31536000; includeSubDomains; preload";

#[expect(clippy::unnecessary_wraps, reason = "as a look answers")]
fn to_https() -> Option<Result<Spoken, Mute>> {
    Some(answer(301, &[("location", "https://shop.test/x")]))
}

#[test]
fn each_policy_has_its_label() {
    let case = |host, fields, plain| Case { host, fields, plain, good: true }.labels();
    let shop = |fields| case("shop.test", fields, to_https());
    assert_eq!(shop(&[]), "hsts_missing");
    assert_eq!(shop(&["max-age=31535999"]), "hsts_short");
    assert_eq!(shop(&["max-age=31536000"]), "hsts_ok");
    assert_eq!(shop(&["max-age=63072000; includeSubDomains"]), "hsts_ok");
    assert_eq!(shop(&[FULL]), "hsts_preload_ready");
    assert_eq!(shop(&["max-age=31535999; includeSubDomains; preload"]), "hsts_preload_invalid");
    assert_eq!(shop(&["max-age=31536000; preload"]), "hsts_preload_invalid");
    assert_eq!(shop(&["max-age=0"]), "hsts_zero");
    assert_eq!(shop(&["max-age=0; includeSubDomains; preload"]), "hsts_zero");
    assert_eq!(shop(&["max-age=never"]), "hsts_malformed");
    assert_eq!(shop(&["max-age=never", "max-age=31536000"]), "hsts_malformed", "only the first counts");
    assert_eq!(shop(&["max-age=31536000", "MAX-AGE=\"31536000\""]), "hsts_ok", "the same twice");
    assert_eq!(shop(&["max-age=31536000", "max-age=300"]), "hsts_malformed");
    assert_eq!(case("10.0.0.1", &[FULL], None), "", "an address has no policy");
    assert_eq!(case("10.0.0.1", &[], None), "");
}

#[test]
fn preload_wants_a_base_domain_and_a_redirect_on_the_same_host_first() {
    let case = |host, plain| Case { host, fields: &[FULL], plain, good: true }.labels();
    let redirect = |status, to| Some(answer(status, &[("location", to)]));
    let refused = Mute::Unopened(crate::probe::Trouble::silent(Label::TcpRefused, "refused"));
    assert_eq!(case("shop.test", None), "hsts_preload_ready", "port 80 was not looked at");
    assert_eq!(case("shop.test", Some(Err(refused))), "hsts_preload_ready", "nobody listens");
    assert_eq!(case("shop.test", redirect(308, "https://SHOP.test/")), "hsts_preload_ready");
    assert_eq!(case("shop.test", redirect(302, "https://shop.test:8443/")), "hsts_preload_ready");
    assert_eq!(case("shop.test", redirect(301, "https://www.shop.test/")), "hsts_preload_invalid");
    assert_eq!(case("shop.test", redirect(301, "http://shop.test/x")), "hsts_preload_invalid");
    assert_eq!(case("shop.test", redirect(301, "/x")), "hsts_preload_invalid");
    assert_eq!(case("shop.test", Some(answer(200, &[]))), "hsts_preload_invalid");
    assert_eq!(case("shop.co.uk", None), "hsts_preload_ready");
    assert_eq!(case("www.shop.co.uk", None), "hsts_preload_invalid");
    assert_eq!(case("localhost", None), "hsts_preload_invalid");
}

#[test]
fn what_is_sent_over_a_bad_certificate_counts_for_nothing() {
    let case = |fields| Case { host: "shop.test", fields, plain: None, good: false }.labels();
    assert_eq!(case(&[FULL]), "hsts_ignored_bad_cert");
    assert_eq!(case(&["max-age=300"]), "hsts_ignored_bad_cert");
    assert_eq!(case(&["max-age=0"]), "hsts_zero");
    assert_eq!(case(&["max-age"]), "hsts_malformed");
    assert_eq!(case(&[]), "hsts_missing");
}

#[test]
fn an_error_page_says_nothing_about_the_policy() {
    let plain = Some(answer(301, &[("strict-transport-security", "max-age=300"), ("location", "https://a.test/")]));
    let judged = |status, asked| {
        let found = judge(&Policy {
            host: &host("a.test"),
            port: 443,
            secure: &answer(status, &[]),
            plain: plain.as_ref(),
            plain_port: 80,
            certificate_good: true,
            client_certificate_asked: asked,
            below: &[],
        });
        found.iter().map(|it| it.label).collect::<Vec<_>>()
    };
    assert_eq!(judged(200, false), [Label::HstsHttpOnly]);
    assert_eq!(judged(404, false), [Label::HstsHttpOnly]);
    assert_eq!(judged(503, false), []);
    assert_eq!((judged(400, true), judged(403, true)), (vec![], vec![]));
    assert_eq!(judged(403, false), [Label::HstsHttpOnly]);
    assert_eq!((judged(400, false), judged(421, false)), (vec![], vec![]), "the request went astray");
}

#[test]
fn each_step_says_whether_the_next_one_is_safe() {
    let check = |fields: &[&str], plain| {
        let found = Case { host: "shop.test", fields, plain, good: true }.judged();
        assert_eq!(found.len(), 1, "{found:?}");
        (found[0].seen.to_string(), found[0].check.to_string())
    };
    let (seen, next) = check(&["max-age=300"], to_https());
    assert!(seen.contains("step 1 of 4") && next.starts_with("Ready for step 2"), "{seen} {next}");
    let (_, next) = check(&["max-age=300"], Some(answer(200, &[])));
    assert!(next.starts_with("Not ready for step 2") && next.contains("port 80"), "{next}");
    let (seen, next) = check(&["max-age=31536000"], to_https());
    assert!(
        seen.contains("step 2 of 4") && next.contains("step 3") && next.contains("cannot be seen"),
        "{seen} {next}"
    );
    let (seen, next) = check(&["max-age=31536000; includeSubDomains"], to_https());
    assert!(seen.contains("step 3 of 4") && next.starts_with("Ready for step 4"), "{seen} {next}");
    let (_, next) = check(&["max-age=31536000; includeSubDomains"], Some(answer(200, &[])));
    assert!(next.starts_with("Not ready for step 4"), "{next}");
    let (seen, _) = check(&[FULL], None);
    assert!(seen.contains("step 4 of 4") && seen.contains("port 80 was not looked at"), "{seen}");
}

#[test]
fn names_below_that_fail_stand_against_the_next_step() {
    use crate::probe::survey::Below;
    let below = [("www.shop.test", None), ("old.shop.test", Some(Label::Expired))];
    let below = below.map(|(name, fault)| Below { name: host(name), fault });
    let found = judge(&Policy {
        host: &host("shop.test"),
        port: 443,
        secure: &answer(200, &[("strict-transport-security", "max-age=31536000")]),
        plain: None,
        plain_port: 80,
        certificate_good: true,
        client_certificate_asked: false,
        below: &below,
    });
    let check = found[0].check.as_str();
    assert!(check.starts_with("Not ready for step 3") && check.contains("old.shop.test (expired)"), "{check}");
    assert!(!check.contains("www.shop.test"), "{check}");
}
