//! What a CA puts into its orders, authorizations and challenges, where it is not what was asked for, or never comes.
//!
//! Played like the faults of [`ca_wire`](super::ca_wire): a fault, then an honest CA, and in all one new certificate and one
//! unused order at most.

use super::ca_wire::{Case, always, play};
use super::plain::plain;
use crate::rig::scene::Scene;
use crate::rig::{Answer, Asked, Fault, FaultyCa, Kind, Times, free_port, snapshot};
use serde_json::{Value, json};

/// What must not be asked for while nothing may be proved.
const UNPROVED: &[Kind] = &[Kind::Challenge, Kind::Finalize, Kind::Certificate];

/// Every answer of this kind, with its JSON changed.
fn changed(
    kind: Kind,
    change: impl Fn(&mut Value) + Send + Sync + Clone + 'static,
) -> impl Fn(&FaultyCa) + Send + Sync {
    always(kind, Fault::change(move |_, answer| answer.json(&change)))
}

/// Every order that is shown, with its JSON changed.
fn orders(change: impl Fn(&mut Value) + Send + Sync + Clone + 'static) -> impl Fn(&FaultyCa) + Send + Sync {
    move |ca| {
        for kind in [Kind::NewOrder, Kind::Order, Kind::Finalize] {
            changed(kind, change.clone())(ca);
        }
    }
}

/// The elements of a JSON array.
fn array(value: &mut Value) -> &mut Vec<Value> {
    value.as_array_mut().expect("an array")
}

#[test]
fn one_reply_is_lost() {
    let lost = |kind| move |ca: &FaultyCa| ca.on(kind, Times::ONCE, Fault::LoseReply);
    play(
        "lost-replies",
        &[
            Case::passing("newOrder", &["/order-plz"], lost(Kind::NewOrder)).never(UNPROVED),
            Case::harmless("authorization", lost(Kind::Authorization)),
            Case::harmless("challenge", lost(Kind::Challenge)),
            Case::harmless("order", lost(Kind::Order)),
            Case::harmless("finalize", lost(Kind::Finalize)),
            Case::harmless("certificate", lost(Kind::Certificate)),
        ],
    );
}

#[test]
fn an_account_whose_reply_is_lost_is_found_again() {
    let scene = Scene::easy();
    let ca = FaultyCa::before(&scene.pebble);
    ca.on(Kind::NewAccount, Times::ONCE, Fault::LoseReply);
    scene.run(&ca.serves(&scene.pebble, &scene.unproven(""))).exits(75);
    scene.everleaf(&["renew", "shop"]).exits(0);
    let asked = ca.asked();
    let registered = |it: &&Asked| it.kind == Kind::NewAccount && it.payload["onlyReturnExisting"] != true;
    assert_eq!(asked.iter().filter(registered).count(), 1, "{asked:?}");
    assert_eq!((scene.pebble.orders(), scene.pebble.issued()), (1, 1), "{asked:?}");
}

#[test]
fn an_order_does_not_go_on() {
    const SHORT: &str = "limits: { connect: 1s, request: 2s, order: 10s }\n";
    let processing = |it: &mut Value| {
        it["status"] = "processing".into();
        it.as_object_mut().expect("an order").remove("certificate");
    };
    let gone = |kind, status| always(kind, Fault::Answer(Answer::problem(status, "malformed", "no such order")));
    play(
        "orders-that-stand",
        &[
            Case::passing("processing for ever", &["/my-order/", "limits.order"], {
                move |ca| {
                    changed(Kind::Order, processing)(ca);
                    changed(Kind::Finalize, processing)(ca);
                }
            })
            .limits(SHORT),
            Case::passing("issuing for ever", &["/my-order/", "limits.order"], {
                orders(move |it| {
                    if it["status"] == "valid" {
                        processing(it);
                    }
                })
            })
            // After limits.order nobody knows whether it will ever come: a live certificate is worth a second one.
            .costs(2)
            .asks(40)
            .limits(SHORT),
            Case::passing("gone", &["/my-order/", "no such order"], gone(Kind::Order, 404)),
            Case::passing("gone for good", &["/my-order/", "no such order"], gone(Kind::Order, 410)),
        ],
    );
}

#[test]
fn other_names_than_those_asked_for() {
    const OTHERS: &[&str] = &["other names than those asked for"];
    let victim = || json!({"type": "dns", "value": "victim.example.org"});
    let names = |change: fn(&mut Vec<Value>)| changed(Kind::NewOrder, move |it| change(array(&mut it["identifiers"])));
    let authorization = |change: fn(&mut Value)| changed(Kind::Authorization, change);
    play(
        "other-names",
        &[
            Case::operator("one more", &["victim.example.org"], {
                changed(Kind::NewOrder, move |it| array(&mut it["identifiers"]).push(victim()))
            })
            .never(UNPROVED),
            Case::operator("one less", OTHERS, {
                changed(Kind::NewOrder, |it| {
                    array(&mut it["identifiers"]).retain(|name| name["value"] == "shop.example.com");
                    array(&mut it["authorizations"]).truncate(1);
                })
            })
            .never(UNPROVED),
            Case::operator("others", &["victim.example.org"], {
                names(|names| *names = vec![json!({"type": "dns", "value": "victim.example.org"}); 2])
            })
            .never(UNPROVED),
            Case::operator("of another kind", OTHERS, {
                names(|names| names.iter_mut().for_each(|name| name["type"] = "email".into()))
            })
            .never(UNPROVED),
            Case::operator("an authorization for another", &["/authZ/", "victim.example.org"], {
                changed(Kind::Authorization, move |it| it["identifier"] = victim())
            })
            .never(UNPROVED),
            Case::operator("an authorization for a wildcard", &["/authZ/", "shop.example.com"], {
                authorization(|it| it["wildcard"] = true.into())
            })
            .never(UNPROVED),
        ],
    );
}

#[test]
fn authorizations_that_are_over() {
    let over = |status: &'static str| changed(Kind::Authorization, move |it| it["status"] = status.into());
    play(
        "authorizations",
        &[
            Case::passing("deactivated", &["/authZ/", "deactivated"], over("deactivated")).never(UNPROVED),
            Case::passing("expired", &["/authZ/", "expired"], over("expired")).never(UNPROVED),
            Case::passing("revoked", &["/authZ/", "revoked"], over("revoked")).never(UNPROVED),
        ],
    );
}

#[test]
fn challenges_of_other_types() {
    let offers = |kinds: &'static [&'static str]| {
        changed(Kind::Authorization, move |it| {
            let proved = array(&mut it["challenges"]).iter().find(|challenge| challenge["type"] == "http-01").cloned();
            let proved = proved.expect("http-01");
            let of = |kind: &&str| match *kind {
                "http-01" => proved.clone(),
                // A challenge without a token, as those of a persistent record are.
                kind => {
                    json!({"type": kind, "url": proved["url"], "status": "pending", "issuer-domain-names": ["ca.test"]})
                }
            };
            it["challenges"] = kinds.iter().map(of).collect();
        })
    };
    play(
        "challenges",
        &[
            Case::operator("none", &["no challenge at all"], offers(&[])).never(UNPROVED),
            Case::operator("one of no known type", &["dns-quantum-01"], offers(&["dns-quantum-01"])).never(UNPROVED),
            Case::operator("a persistent record only", &["dns-persist-01"], offers(&["dns-persist-01"]))
                .never(UNPROVED),
            Case::harmless("unknown ones beside a known one", offers(&["dns-quantum-01", "dns-persist-01", "http-01"])),
        ],
    );
}

#[test]
fn a_token_never_meets_a_path() {
    let token = |token: String| {
        let change = move |it: &mut Value| {
            for challenge in array(&mut it["challenges"]).iter_mut().filter(|it| it["type"] == "http-01") {
                challenge["token"] = token.as_str().into();
            }
        };
        Box::new(changed(Kind::Authorization, change))
    };
    let case = |name, hostile: &str| {
        Case::operator(name, &["/authZ/", "token", "not base64url"], token(hostile.to_owned()))
            .webroot("webroot")
            .never(UNPROVED)
    };
    play(
        "tokens",
        &[
            case("a path upwards", "../../etc/passwd"),
            case("a slash", "abc/def"),
            case("a NUL", "abc\0def"),
            case("nothing", ""),
            case("64 KB", &"a".repeat(64 << 10)),
            case("escape codes", "\u{1b}[2J"),
        ],
    );
}

#[test]
fn urls_within_an_order() {
    let at = |change: fn(&mut Value, &str), url: String| orders(move |it| change(it, &url));
    let finalize = |url: &str| at(|it, url| it["finalize"] = url.into(), url.to_owned());
    let authorization = |url: &str| at(|it, url| it["authorizations"][0] = url.into(), url.to_owned());
    let certificate = |url: &str| {
        let change = |it: &mut Value, url: &str| {
            if it["certificate"].is_string() {
                it["certificate"] = url.into();
            }
        };
        at(change, url.to_owned())
    };
    let challenge = changed(Kind::Authorization, |it| {
        for challenge in array(&mut it["challenges"]) {
            challenge["url"] = "file:///etc/passwd".into();
        }
    });
    let nobody = format!("https://localhost:{}/x", free_port());
    let location = Fault::change(|_, answer| answer.with("Location", "http://ca.test/order"));
    play(
        "order-urls",
        &[
            Case::operator("finalize by http", &["http://ca.test/x"], finalize("http://ca.test/x")).never(UNPROVED),
            Case::operator("finalize with a password", &["credentials"], finalize("https://a:b@ca.test/x"))
                .never(UNPROVED),
            Case::operator("an authorization that is a file", &["file:///etc/passwd"], {
                authorization("file:///etc/passwd")
            })
            .never(UNPROVED),
            Case::operator("a challenge that is a file", &["file:///etc/passwd"], challenge).never(UNPROVED),
            Case::operator("an order by http", &["http://ca.test/order"], always(Kind::NewOrder, location))
                .never(UNPROVED),
            Case::operator("a certificate by http", &["http://ca.test/x"], certificate("http://ca.test/x"))
                .never(&[Kind::Certificate]),
            Case::operator("a certificate that is a file", &["file:///etc/passwd"], certificate("file:///etc/passwd"))
                .never(&[Kind::Certificate]),
            Case::passing("an authorization at a host that is away", &["https://localhost:PORT/x"], {
                authorization(&nobody)
            }),
            Case::passing("finalize at a host that is away", &["https://localhost:PORT/x"], finalize(&nobody)),
            Case::passing("a certificate at a host that is away", &["https://localhost:PORT/x"], certificate(&nobody)),
        ],
    );
}

#[test]
fn a_bad_url_in_one_order_holds_up_no_other() {
    let scene = Scene::easy();
    let ca = FaultyCa::before(&scene.pebble);
    let one = |name: &str, key: &str| {
        format!(
            "  - {{ name: {name}, names: [{name}.example.com], key: {key}, issuer: pebble, {}, nodes: [local], confirm: none }}\n",
            scene.solver()
        )
    };
    let two = |bad, good| format!("{}certificates:\n{}{}", scene.preamble(), one("bad", bad), one("good", good));
    let both = |key| two(key, key);
    scene.run(&ca.serves(&scene.pebble, &both("ecdsa-p256"))).exits(0);
    let (bad, good) = (scene.leaf("bad"), scene.leaf("good"));
    ca.on(
        Kind::NewOrder,
        Times::ALWAYS,
        Fault::change(|asked, answer| match asked.payload["identifiers"][0]["value"].as_str() {
            Some("bad.example.com") => answer.json(|it| it["finalize"] = "file:///etc/passwd".into()),
            _ => answer,
        }),
    );
    scene.run(&ca.serves(&scene.pebble, &two("ecdsa-p384", "ecdsa-p256"))).exits(1);
    scene.run(&ca.serves(&scene.pebble, &both("ecdsa-p384"))).exits(1);
    assert_eq!(scene.leaf("bad"), bad);
    assert_ne!(scene.leaf("good"), good, "the other one is renewed by the run after the bad one's");

    // A directory of such URLs is everybody's.
    let orders = scene.pebble.orders();
    changed(Kind::Directory, |it| it["newOrder"] = "file:///etc/passwd".into())(&ca);
    let ran = scene.run(&ca.serves(&scene.pebble, &both("ecdsa-p256"))).exits(1);
    assert!(ran.err.contains("good: ") && ran.err.contains("net:url"), "{}", ran.err);
    ca.forget();
    scene.run(&ca.serves(&scene.pebble, &both("ecdsa-p256").replace("name: good", "name: another"))).exits(1);
    assert_eq!(ca.count(Kind::Any), 0, "nobody asks again: {:?}", ca.asked());
    assert_eq!(scene.pebble.orders(), orders);
}

#[test]
fn each_names_own_reason_is_shown() {
    const BOTH: &[&str] = &["CAA record for shop.example.com", "www.shop.example.com could not be looked up in time"];
    const FIRST: &[&str] = &["/my-order/", "first: "];
    let problem =
        |kind: &str, detail: &str| json!({"type": format!("urn:ietf:params:acme:error:{kind}"), "detail": detail});
    let of = |name: &str, kind: &str, detail: &str| {
        let mut problem = problem(kind, detail);
        problem["identifier"] = json!({"type": "dns", "value": name});
        problem
    };
    let parts = [
        of("shop.example.com", "caa", "CAA record for shop.example.com prevents issuance"),
        of("www.shop.example.com", "serverInternal", "www.shop.example.com could not be looked up in time"),
    ];
    let mut whole = problem("compound", "2 errors in this order");
    whole["subproblems"] = parts.iter().cloned().collect();
    let by_name = move |it: &mut Value| {
        let part = parts.iter().find(|part| part["identifier"]["value"] == it["identifier"]["value"]);
        it["status"] = "invalid".into();
        it["challenges"][0]["error"] = part.cloned().unwrap_or_default();
    };
    let invalid = move |error: Value| {
        changed(Kind::Order, move |it| {
            it["status"] = "invalid".into();
            it["error"] = error.clone();
        })
    };
    let of_the_order = invalid(whole);
    let of_the_names = invalid(Value::Null);
    play(
        "invalid-orders",
        &[
            Case::operator("in the order", FIRST, of_the_order).shows(BOTH).never(&[Kind::Finalize]),
            Case::operator("in the authorizations", FIRST, move |ca| {
                of_the_names(ca);
                ca.on(Kind::Authorization, Times::of(2), Fault::change(|_, answer| answer));
                changed(Kind::Authorization, by_name.clone())(ca);
            })
            .shows(BOTH)
            .never(&[Kind::Finalize]),
            Case::passing("nowhere", &["no reason"], invalid(Value::Null)).never(&[Kind::Finalize]),
        ],
    );
}

#[test]
fn an_account_that_is_forgotten_is_registered_again_by_a_person_only() {
    let mut scene = Scene::easy();
    let ca = FaultyCa::before(&scene.pebble);
    let yaml = |scene: &Scene, key: &str| ca.serves(&scene.pebble, &scene.unproven(&format!("    key: {key}\n")));
    scene.run(&yaml(&scene, "ecdsa-p256")).exits(0);
    scene.pebble.restart();
    let (before, changed) = (scene.leaf("shop"), yaml(&scene, "ecdsa-p384"));
    ca.heal();
    let orders = scene.pebble.orders();
    let ran = scene.run(&changed).exits(1);
    snapshot("hostile/messages/ca/account", &plain(&scene, &ca.plain(&ran.err)));
    for again in [&["run"][..], &["run"], &["renew", "shop"], &["renew", "shop"]] {
        let ran = scene.everleaf(again).exits(1);
        assert!(ran.err.contains("`everleaf account register`"), "{}", ran.err);
    }
    assert_eq!((ca.count(Kind::NewAccount), scene.pebble.orders()), (0, orders), "{:?}", ca.asked());
    assert!(ca.count(Kind::Any) <= 5 * 6, "{:?}", ca.asked());
    assert_eq!(scene.leaf("shop"), before);

    // What was advised helps.
    scene.everleaf(&["account", "register"]).exits(0);
    scene.everleaf(&["renew", "shop"]).exits(0);
    assert_ne!(scene.leaf("shop"), before);
}
