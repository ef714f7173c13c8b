//! Trouble before the CA has said a word of HTTP.

use super::{Case, play};
use crate::rig::{FaultyCa, Line};

fn line(line: Line) -> impl Fn(&FaultyCa) + Send + Sync {
    move |ca| ca.line(line)
}

#[test]
fn a_ca_that_cannot_be_reached() {
    play(
        "connections",
        &[
            Case::passing("nobody listens", &["/dir", "refused"], line(Line::Refused)),
            Case::passing("reset at once", &["/dir", "reset"], line(Line::Reset)),
            Case::passing("closed at once", &["/dir", "closed during the TLS handshake"], line(Line::Closed)),
            Case::passing("not a word", &["/dir", "no connection within 1s"], line(Line::Silent)),
            Case::passing("plain HTTP", &["/dir", "TLS"], line(Line::PlainHttp)),
            Case::passing("another protocol", &["/dir", "TLS"], line(Line::Garbage)),
            Case::passing("TLS 1.0 only", &["/dir", "TLS"], line(Line::Tls10)),
            Case::operator("an expired certificate", &["/dir", "expired"], line(Line::Expired)),
            Case::operator("a certificate for another name", &["/dir", "elsewhere.example.net"], line(Line::WrongName)),
            Case::operator("a self-signed certificate", &["/dir", "not signed by a root"], line(Line::SelfSigned)),
        ],
    );
}
