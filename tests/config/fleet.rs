//! Ranges, groups and defaults: what they come to once they are written out.

use super::read;
use everleaf::config::spec::{NodeKind, Receive, Reload, Roots, Spec};
use everleaf::types::NodeName;
use std::path::PathBuf;

const HEAD: &str = "version: 1\nissuers: { le: { directory: letsencrypt, agree_to_terms: true } }\n\
                    defaults: { solver: { http-01: { webroot: /srv } } }\n";

fn spec(fleet: &str) -> Spec {
    read(&format!("{HEAD}{fleet}")).unwrap_or_else(|errors| panic!("{errors}")).spec
}

fn certificate(rest: &str) -> String {
    format!("certificates: [{{ name: shop, names: [shop.example.com], {rest} }}]\n")
}

fn name(text: &str) -> NodeName {
    text.parse().expect("name")
}

fn shown<T: ToString>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(" ")
}

/// What a fleet comes to: the nodes of its one certificate, its canaries, its endpoints with their nodes.
fn came(spec: &Spec) -> (String, String, String) {
    let shop = spec.certificates.values().next().expect("one");
    let at = |at: &everleaf::config::spec::Endpoint| {
        let node = at.node.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
        let place = at.to_string();
        format!("{node}={}", place.split(' ').next().unwrap_or_default())
    };
    (shown(&shop.nodes), shown(&shop.rollout.canaries), shop.endpoints.iter().map(at).collect::<Vec<_>>().join(" "))
}

#[test]
fn groups_and_ranges_stand_for_their_nodes_each_once_and_in_order() {
    let fleet = "nodes: { edge08..11: { host: \"{node}.example\", reload: none }, db: { host: db.example, reload: none } }\n\
                 groups: { edges: [edge08..edge11], some: [edge10, db], all: [some, edges] }\n";
    let rest = "nodes: [all, db], rollout: { canary: [some, edge10] }, endpoints: \"{address}:443\"";
    let (nodes, canaries, endpoints) = came(&spec(&format!("{fleet}{}", certificate(rest))));
    assert_eq!(nodes, "edge10 db edge08 edge09 edge11");
    assert_eq!(canaries, "edge10 db");
    assert_eq!(
        endpoints,
        "edge10=edge10.example:443 db=db.example:443 edge08=edge08.example:443 edge09=edge09.example:443 \
         edge11=edge11.example:443"
    );
}

#[test]
fn an_endpoint_for_each_of_a_group_beside_others() {
    let fleet = "nodes:\n  e1: { address: [192.0.2.1, '2001:db8::1'], reload: none }\n  e2: { address: 192.0.2.2, reload: none }\n  \
                 lb: { reload: none }\ngroups: { edges: [e1, e2] }\n";
    let rest = "nodes: [edges, lb], endpoints: [{ address: \"{address}:8443\", node: edges }, { address: \"{node}.example:443\", \
                node: [lb] }, { address: 'www.example:443', expect: valid }]";
    let (_, _, endpoints) = came(&spec(&format!("{fleet}{}", certificate(rest))));
    assert_eq!(
        endpoints,
        "e1=192.0.2.1:8443 e1=[2001:db8::1]:8443 e2=192.0.2.2:8443 lb=lb.example:443 -=www.example:443"
    );
}

#[test]
fn a_node_s_own_word_goes_before_its_range_s_its_group_s_and_the_default() {
    let fleet = "node_defaults: { type: ssh, host: \"root@{node}\", sudo: true, live: /default, check: [a], reload: { systemd: a } }\n\
                 nodes:\n  e1..5: { check: [range] }\n  e2: { check: [own] }\n  e3:\n  local: { reload: { systemd: here } }\n  \
                 x: { hook: [carry, \"{node}\", \"${node}\"], check: [x] }\n\
                 groups:\n  all: { nodes: [few, e4], reload: { systemd: all }, live: /all }\n  \
                 few: { nodes: [e2, e3], reload: { systemd: few } }\n";
    let spec = spec(&format!("{fleet}certificates: []\n"));
    let node = |text: &str| spec.nodes[&name(text)].clone();
    let check = |text: &str| node(text).check.expect("a check").argv.concat();
    let reload = |text: &str| match node(text).reload {
        Reload::Systemd { unit } => unit,
        other => format!("{other:?}"),
    };
    assert_eq!(["e1", "e2", "e3"].map(check), ["range", "own", "range"]);
    assert_eq!(["e1", "e2", "e3", "e4", "local"].map(reload), ["a", "few", "few", "all", "here"]);
    assert_eq!(["e1", "e3", "e4"].map(|it| node(it).live), ["/default", "/all", "/all"].map(PathBuf::from));
    let NodeKind::Ssh(ssh) = node("e5").kind else { panic!("ssh is the default") };
    assert_eq!((ssh.host.to_string().as_str(), ssh.sudo), ("ssh://root@e5", true));
    // What others share of another kind is not for them.
    assert!(matches!(node("local").kind, NodeKind::Local));
    let NodeKind::Exec(hook) = node("x").kind else { panic!("a hook makes it exec") };
    assert_eq!(hook.argv, ["carry", "x", "${node}"], "what a shell would read is left to it");
}

#[test]
fn whose_everleaf_receives_is_said_for_all_or_for_one() {
    let fleet = "node_defaults: { type: ssh, receive: true }\nnodes:\n  e1..2: {}\n  e3: { receive: false }\n  \
                 e4: { receive: { probe: ['127.0.0.1:443', '[::1]:443'], roots: /etc/ca.pem } }\n  local: {}\n";
    let spec = spec(&format!("{fleet}certificates: []\n"));
    let receive = |text: &str| match &spec.nodes[&name(text)].kind {
        NodeKind::Ssh(ssh) => ssh.receive.clone(),
        other => panic!("{text} is {other:?}"),
    };
    assert_eq!(["e1", "e2", "e3"].map(receive), [Some(Receive::default()), Some(Receive::default()), None]);
    let told = receive("e4").expect("it receives");
    assert_eq!(shown(&told.probe), "127.0.0.1:443 [::1]:443");
    assert_eq!(told.roots, Some(Roots::File("/etc/ca.pem".into())));
    assert!(matches!(spec.nodes[&name("local")].kind, NodeKind::Local), "what is for others is not for it");
}

#[test]
fn without_groups_nothing_is_different() {
    let spec = spec(&certificate("endpoints: public"));
    assert!(spec.groups.is_empty());
    assert_eq!(spec.nodes.len(), 1);
}
