//! A fleet on paper: what groups came to, and where a command may be sent.

use crate::desk::{Desk, left, program};
use crate::rig::snapshot;

const FLEET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/fleet.yaml");

#[test]
fn what_groups_came_to_is_shown_and_in_json_every_endpoint() {
    let check = |args: &[&str]| left(program(&[&["--config", FLEET, "config", "check"], args].concat()));
    let plain = check(&[]);
    let lines: Vec<&str> = plain.out.lines().skip(1).collect();
    let expected = [
        "  group edges: 50 nodes: edge01..30, edge50, edge31..49",
        "  group eu: 31 nodes: edge01..30, edge50",
        "  group us: 19 nodes: edge31..49",
    ];
    assert_eq!((plain.code, lines), (0, expected.to_vec()));
    let more = check(&["-v"]);
    for line in [
        "  shop: 50 nodes: edge01..30, edge50, edge31..49",
        "    first edge01, edge31",
        "    [2001:db8::50]:443 (www.shop.example.com) on edge50",
    ] {
        assert!(more.out.lines().any(|have| have == line), "{line} in {}", more.out);
    }
    let fleet = &check(&["--json"]).json()["fleet"];
    assert_eq!(fleet["groups"]["us"].as_array().map(Vec::len), Some(19));
    assert_eq!(fleet["nodes"][0]["host"], "ssh://deploy@edge01.example.com");
    let shop = &fleet["certificates"][1];
    assert_eq!(shop["endpoints"][1]["node"], "edge01");
    assert_eq!(shop["endpoints"].as_array().map(Vec::len), Some(102));
}

#[test]
fn a_command_for_a_group_or_a_node_that_is_none() {
    let desk = Desk::new(
        "issuers: { ca: { directory: 'https://127.0.0.1:1/dir' } }\nnode_defaults: { live: /srv/tls, reload: none }\n\
         nodes: { edge1..3: {}, db: {} }\ngroups: { edges: [edge1..3], rest: [db] }\ncertificates:\n  - { name: shop, names: \
         [shop.example.com], nodes: edges, solver: { http-01: { listen: '127.0.0.1:1' } }, confirm: none }\n",
    );
    let said =
        [["deploy", "shop", "--to", "edge"], ["deploy", "shop", "--to", "rest"], ["rollback", "shop", "--node", "x"]]
            .map(|args| {
                let left = desk.run(&args);
                assert_eq!(left.code, 64, "{left:?}");
                left.err
            });
    snapshot("cli/fleet/nodes_that_are_none", &said.concat());
}
