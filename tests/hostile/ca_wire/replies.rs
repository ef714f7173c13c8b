//! Replies that are lost, without end, or not what ACME sends.

use super::{Case, always, play};
use crate::rig::{Answer, Fault, Kind};

#[test]
fn replies_that_do_not_come() {
    play(
        "replies-that-do-not-come",
        &[
            Case::passing("reset at the order", &["/order-plz", "reset"], always(Kind::NewOrder, Fault::Reset)),
            Case::passing("reset at the nonce", &["/nonce-plz", "reset"], always(Kind::NewNonce, Fault::Reset)),
            Case::passing("closed at the directory", &["/dir"], always(Kind::Directory, Fault::Close)),
            Case::passing("closed at the authorization", &["/authZ/"], always(Kind::Authorization, Fault::Close)),
            Case::passing("silence at the directory", &["/dir"], always(Kind::Directory, Fault::Silence)),
            Case::passing("silence at the challenge", &["/chalZ/"], always(Kind::Challenge, Fault::Silence)),
            Case::passing("a trickle at finalize", &["/finalize-order/"], always(Kind::Finalize, Fault::Trickle)),
            Case::passing("half a certificate", &["/certZ/"], always(Kind::Certificate, Fault::Half)),
        ],
    );
}

#[test]
fn replies_without_end() {
    let flood = |told| Fault::Flood { octets: 64 << 20, told };
    play(
        "replies-without-end",
        &[
            Case::passing("64 MB of directory, told", &["/dir"], always(Kind::Directory, flood(true))),
            Case::passing("64 MB of order", &["/my-order/"], always(Kind::Order, flood(false))),
            Case::passing("64 MB of certificate", &["/certZ/"], always(Kind::Certificate, flood(false))),
            Case::passing("headers without end", &["/order-plz"], always(Kind::NewOrder, Fault::EndlessHeaders)),
        ],
    );
}

fn html(status: u16) -> Fault {
    Fault::Answer(Answer::html(status, "Welcome to HotelNet: please log in"))
}

#[test]
fn replies_of_somebody_else() {
    play(
        "replies-of-somebody-else",
        &[
            Case::passing("a portal for the directory", &["/dir"], always(Kind::Directory, html(200))),
            Case::passing("a portal for everything", &["/dir"], always(Kind::Any, html(200))),
            Case::passing("502 for the directory", &["/dir", "502"], always(Kind::Directory, html(502))),
            Case::passing("502 for the order", &["/order-plz", "502"], always(Kind::NewOrder, html(502))),
            Case::operator("403 for the order", &["/order-plz", "403"], always(Kind::NewOrder, html(403))),
        ],
    );
}
