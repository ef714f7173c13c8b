//! Replies of another shape than they should have: redirects, other URLs, missing and unknown parts.

use super::{Case, always, play};
use crate::rig::scene::Scene;
use crate::rig::{Answer, Fault, FaultyCa, Kind, Times, free_port, snapshot};

fn moved(kind: Kind, status: u16, to: &'static str) -> impl Fn(&FaultyCa) + Send + Sync {
    move |ca| {
        let target = if to.starts_with('/') { format!("https://{}{to}", ca.address()) } else { to.to_owned() };
        let answer = Answer::html(status, "Moved").with("Location", target).fresh_nonce();
        ca.on(kind, Times::ALWAYS, Fault::Answer(answer));
        // Whoever follows all the same is seen: nothing else is asked for there.
        ca.on(Kind::Other, Times::ALWAYS, Fault::Close);
    }
}

#[test]
fn redirects() {
    const STAYS: &[&str] = &["/order-plz", "redirects to https://CA:443/elsewhere"];
    play(
        "redirects",
        &[
            Case::harmless("a directory that moved", |ca| {
                let target = format!("https://{}/dir?moved", ca.address());
                ca.on(Kind::Directory, Times::ONCE, Fault::Answer(Answer::html(301, "Moved").with("Location", target)));
            }),
            Case::passing("a directory that goes round in circles", &["/dir", "redirects"], {
                moved(Kind::Directory, 302, "/dir")
            })
            .asks(4),
            Case::passing("a directory that moved to http", &["/dir", "http://portal.example.net/", "https"], {
                moved(Kind::Directory, 302, "http://portal.example.net/")
            })
            .asks(1),
            Case::passing("an order is asked for elsewhere, 302", STAYS, moved(Kind::NewOrder, 302, "/elsewhere")),
            Case::passing("an order is asked for elsewhere, 307", STAYS, moved(Kind::NewOrder, 307, "/elsewhere")),
            Case::operator("an order has moved, 301", STAYS, moved(Kind::NewOrder, 301, "/elsewhere")),
            Case::operator("an order has moved, 308", STAYS, moved(Kind::NewOrder, 308, "/elsewhere")),
        ],
    );
}

/// The directory, with newOrder's URL changed.
fn order_at(change: impl Fn(&str) -> String + Send + Sync + Clone + 'static) -> impl Fn(&FaultyCa) + Send + Sync {
    move |ca| {
        let change = change.clone();
        let fault = Fault::change(move |_, answer| {
            answer.json(|it| it["newOrder"] = change(it["newOrder"].as_str().unwrap_or_default()).into())
        });
        ca.on(Kind::Directory, Times::ALWAYS, fault);
    }
}

#[test]
fn other_urls_than_they_should_be() {
    let nobody = free_port();
    play(
        "urls",
        &[
            Case::operator("a directory of http URLs", &["/dir", "http://ca.test/order-plz", "not https"], {
                order_at(|_| "http://ca.test/order-plz".to_owned())
            })
            .asks(1),
            Case::passing("a directory of another host's URLs", &["https://localhost:PORT/order-plz"], {
                order_at(move |_| format!("https://localhost:{nobody}/order-plz"))
            }),
            Case::operator("a directory with credentials in it", &["credentials"], {
                order_at(|_| "https://user:word@ca.test/order-plz".to_owned())
            })
            .asks(1),
            Case::operator("an order whose authorization is a file", &["file:///etc/passwd"], {
                always(
                    Kind::NewOrder,
                    Fault::change(|_, answer| answer.json(|it| it["authorizations"][0] = "file:///etc/passwd".into())),
                )
            }),
        ],
    );
}

/// Replies cut off within their first name.
fn cut(kind: Kind) -> impl Fn(&FaultyCa) + Send + Sync {
    always(
        kind,
        Fault::change(|_, answer| {
            let begin = answer.body.iter().take(8).copied().collect::<Vec<_>>();
            answer.body(begin)
        }),
    )
}

#[test]
fn an_account_without_its_url_is_no_account_and_the_next_run_finds_it() {
    let scene = Scene::easy();
    let ca = FaultyCa::before(&scene.pebble);
    without(Kind::NewAccount, "Location")(&ca);
    let ran = scene.run(&ca.serves(&scene.pebble, &scene.unproven(""))).exits(75);
    snapshot("hostile/messages/ca/new-account", &scene.plain(&ca.plain(&ran.err)));
    assert_eq!((ca.count(Kind::NewAccount), ca.count(Kind::NewOrder)), (1, 0), "{:?}", ca.asked());
    ca.heal();
    scene.everleaf(&["renew", "shop"]).exits(0);
    assert_eq!(scene.pebble.log().matches("accounts in memory").count(), 1, "it is registered once");
}

fn without(kind: Kind, name: &'static str) -> impl Fn(&FaultyCa) + Send + Sync {
    always(kind, Fault::change(move |_, answer| answer.without(name)))
}

#[test]
fn missing_parts() {
    play(
        "missing-parts",
        &[
            Case::passing("half a directory", &["/dir", "JSON"], cut(Kind::Directory)),
            Case::harmless("half an order: its URL is enough", cut(Kind::NewOrder)),
            Case::passing("half an order, again and again", &["/my-order/", "JSON"], cut(Kind::Order)),
            Case::passing("half an authorization", &["/authZ/", "JSON"], cut(Kind::Authorization)),
            Case::passing("an empty authorization", &["/authZ/", "empty"], {
                always(Kind::Authorization, Fault::change(|_, answer| answer.body("")))
            }),
            Case::passing("an order without its URL", &["/order-plz"], without(Kind::NewOrder, "Location")),
            Case::passing("no nonce where one is asked for", &["/nonce-plz", "Replay-Nonce"], {
                without(Kind::NewNonce, "Replay-Nonce")
            }),
            Case::harmless("no nonce with other replies", |ca| {
                ca.on(Kind::NewNonce, Times::ALWAYS, Fault::change(|_, answer| answer));
                ca.on(Kind::Any, Times::ALWAYS, Fault::change(|_, answer| answer.without("Replay-Nonce")));
            })
            .asks(24),
            Case::harmless("no content types", without(Kind::Any, "Content-Type")),
        ],
    );
}

#[test]
fn unknown_parts() {
    play(
        "unknown-parts",
        &[
            Case::harmless("fields that nobody knows", {
                always(
                    Kind::Any,
                    Fault::change(|_, answer| {
                        answer.json(|it| {
                            it["x-future"] = serde_json::json!({"deep": [1, {"er": null}]});
                            it["meta"]["later"] = "2030".into();
                        })
                    }),
                )
            }),
            Case::harmless("another content type", {
                always(Kind::Any, Fault::change(|_, answer| answer.with("Content-Type", "text/html")))
            }),
            Case::harmless("a challenge of an unknown type first", {
                always(
                    Kind::Authorization,
                    Fault::change(|_, answer| {
                        answer.json(|it| {
                        let unknown = serde_json::json!({"type": "dns-quantum-01", "url": it["challenges"][0]["url"], "status": "odd"});
                        if let Some(challenges) = it["challenges"].as_array_mut() {
                            challenges.insert(0, unknown);
                        }
                    })
                    }),
                )
            }),
            Case::passing("an order of unknown status", &["/my-order/", "confused"], {
                always(Kind::Order, Fault::change(|_, answer| answer.json(|it| it["status"] = "confused".into())))
            }),
            Case::passing("an authorization of unknown status", &["/authZ/", "confused"], {
                always(
                    Kind::Authorization,
                    Fault::change(|_, answer| answer.json(|it| it["status"] = "confused".into())),
                )
            }),
        ],
    );
}
