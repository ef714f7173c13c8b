//! Trouble before the CA has said a word of HTTP.

use super::{Case, play};
use crate::rig::scene::Scene;
use crate::rig::{FaultyCa, Line, snapshot};
use everleaf::config::spec::Limits;
use std::time::Duration;

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

#[test]
fn a_ca_whose_name_nobody_knows_is_told_and_a_mended_configuration_goes_on_at_once() {
    let scene = Scene::easy();
    let yaml = scene.unproven("");
    let ran = scene.run(&yaml.replace(&scene.pebble.directory(), "https://acme.ca.invalid/dir")).exits(75);
    // Each C library has its own words for it.
    let (begin, _) = ran.err.split_once("cannot be found: ").expect("what cannot be found");
    let end = ran.err.rsplit_once("Check the host name").expect("what to do").1;
    snapshot(
        "hostile/messages/ca/dns",
        &scene.plain(&format!("{begin}cannot be found: WHY; Check the host name{end}")),
    );
    scene.run(&yaml).exits(0);
}

#[test]
fn what_is_shortened_for_these_tests_is_bounded_by_default() {
    let bounds = Limits::default();
    let secs = [bounds.connect, bounds.request, bounds.order, bounds.run].map(|limit| limit.as_secs());
    assert_eq!(secs, [10, 30, 600, 1_800]);
    assert!(bounds.hook <= Duration::from_secs(120));
}
