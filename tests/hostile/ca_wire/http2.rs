//! Faults of HTTP/2, which real CAs speak.

use super::{Case, play};
use crate::rig::{Fault, FaultyCa, Kind, Line, Times};

// Error codes of RFC 9113 §7.
const NO_ERROR: u32 = 0;
const INTERNAL_ERROR: u32 = 2;
const REFUSED_STREAM: u32 = 7;
const ENHANCE_YOUR_CALM: u32 = 11;

fn http2(kind: Kind, times: Times, fault: Fault) -> impl Fn(&FaultyCa) + Send + Sync {
    move |ca| {
        ca.line(Line::Http2);
        ca.on(kind, times, fault.clone());
    }
}

#[test]
fn a_ca_that_hangs_up_in_http2() {
    let order = |fault| http2(Kind::NewOrder, Times::ALWAYS, fault);
    play(
        "http2",
        &[
            Case::harmless("no fault", |ca| ca.line(Line::Http2)),
            Case::passing("GOAWAY without a reason", &["/order-plz"], order(Fault::GoAway(NO_ERROR))).races(),
            Case::passing("GOAWAY: calm down", &["/order-plz"], order(Fault::GoAway(ENHANCE_YOUR_CALM))).races(),
            Case::passing("a stream is reset", &["/order-plz"], order(Fault::RefuseStream(INTERNAL_ERROR))),
            Case::passing("a stream is refused", &["/order-plz"], order(Fault::RefuseStream(REFUSED_STREAM))),
            Case::harmless("GOAWAY once in the middle of an order", {
                http2(Kind::Finalize, Times::ONCE, Fault::GoAway(ENHANCE_YOUR_CALM))
            })
            .asks(24),
        ],
    );
}
