//! `probe`: what it says of endpoints, alone and by the thousand, to people, scripts and monitoring systems.

use crate::desk::{Desk, Left, left, program};
use crate::rig::{SServer, free_port, scratch, snapshot};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use serde_json::Value;
use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

/// A CA, a leaf for `shop.example.com`, and what serves it.
pub(crate) struct Shop {
    pub(crate) dir: tempfile::TempDir,
    leaf: String,
    pub(crate) intermediate: String,
    key: String,
}

fn named(common: &str) -> CertificateParams {
    const DAY: Duration = Duration::from_secs(86_400);
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, common);
    params.not_before = (SystemTime::now() - DAY).into();
    params.not_after = (SystemTime::now() + DAY * 60 + DAY / 2).into();
    params.use_authority_key_identifier_extension = true;
    params
}

pub(crate) fn ca(common: &str) -> CertificateParams {
    let mut params = named(common);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

impl Shop {
    pub(crate) fn new() -> Self {
        let dir = scratch("probe-cli");
        let [root_key, lower_key, key] = [(); 3].map(|()| KeyPair::generate().expect("a key"));
        let (root, lower) = (ca("Root of Example"), ca("Example Issuing CA 1"));
        let mut leaf = named("shop.example.com");
        leaf.subject_alt_names = vec![rcgen::SanType::DnsName("shop.example.com".try_into().expect("a name"))];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        fs::write(dir.path().join("root.pem"), root.self_signed(&root_key).expect("signed").pem()).expect("written");
        Self {
            leaf: leaf.signed_by(&key, &Issuer::from_params(&lower, &lower_key)).expect("signed").pem(),
            intermediate: lower.signed_by(&lower_key, &Issuer::from_params(&root, &root_key)).expect("signed").pem(),
            key: key.serialize_pem(),
            dir,
        }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root.pem")
    }

    pub(crate) fn serve(&self, last: u8, chain: &str) -> SServer {
        SServer::bare(SocketAddr::from(([127, 0, 0, last], free_port())), &self.leaf, chain, &self.key, &[])
    }

    fn probe(&self, args: &[&str]) -> Left {
        let mut command = program(&[&["probe", "--ca", "root.pem"], args].concat());
        command.current_dir(self.dir.path());
        left(command)
    }

    fn probe_list(&self, list: &str, args: &[&str]) -> Left {
        let mut command = program(&[&["probe", "--ca", "root.pem", "--from-file", "-"], args].concat());
        command.current_dir(self.dir.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it runs");
        child.stdin.take().expect("piped").write_all(list.as_bytes()).expect("read");
        let output = child.wait_with_output().expect("it ends");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Left { code: output.status.code().expect("a code"), out: text(output.stdout), err: text(output.stderr) }
    }
}

/// Without what differs from run to run, and as wide as before.
pub(crate) fn plain(text: &str, addresses: &[SocketAddr]) -> String {
    let mut text = text.to_owned();
    for (number, address) in addresses.iter().enumerate() {
        text = text.replace(&address.to_string(), &format!("203.0.113.{}:443", number + 1));
    }
    let chances = [(r"\b[0-9a-f]{40}\b", "0123456789abcdef0123456789abcdef01234567"), (r"\b[0-9a-f]{8}\b", "0123abcd")];
    let chances = chances.into_iter().chain([(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "2027-01-31T12:00:00Z")]);
    chances.fold(text, |text, (chance, plain)| {
        regex::Regex::new(chance).expect("valid").replace_all(&text, plain).into_owned()
    })
}

pub(crate) fn labels(document: &Value) -> Vec<&str> {
    document["findings"].as_array().expect("a list").iter().map(|it| it["label"].as_str().expect("text")).collect()
}

#[test]
fn a_fleet_is_shown_with_what_is_wrong_where() {
    let shop = Shop::new();
    let (good, bare) = (shop.serve(1, &shop.intermediate), shop.serve(2, ""));
    let gone = SocketAddr::from(([127, 0, 0, 3], free_port()));
    let addresses = [good.address(), bare.address(), gone];
    let typed = addresses.map(|it| it.to_string());
    let args = ["shop.example.com", "--connect", &typed[0], "--connect", &typed[1], "--connect", &typed[2]];
    let said = shop.probe(&args);
    assert_eq!((said.code, said.err.as_str()), (2, ""), "{said:?}");
    assert!(said.out.lines().all(|line| line.chars().count() <= 80 && line == line.trim_end()), "{}", said.out);
    let shown = plain(&format!("$ everleaf probe {}\n{}", args.join(" "), said.out), &addresses);
    snapshot("cli/probe/fleet", &shown);
    assert!(include_str!("../../README.md").contains(said_of(&shown)), "README.md must show:\n{shown}");
    let said = shop.probe(&["shop.example.com", "--connect", &typed[0]]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
    snapshot("cli/probe/good", &plain(&said.out, &addresses));
    let quick = shop.probe(&["shop.example.com", "--connect", &typed[1], "--quick"]);
    assert!(quick.code == 2 && quick.out.contains("missing_intermediate"), "{quick:?}");
}

/// Everything but the command line.
fn said_of(shown: &str) -> &str {
    shown.split_once('\n').map_or(shown, |(_, rest)| rest)
}

#[test]
fn a_list_is_shown_in_its_order_and_summed_up() {
    let shop = Shop::new();
    let good = shop.serve(1, &shop.intermediate);
    let port = good.address().port();
    let gone = free_port();
    // By its address, the certificate is not for it; the second answers at once, the first after a while.
    let silent = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], free_port()))).expect("bound");
    let silent_port = silent.local_addr().expect("its address").port();
    let list = format!(
        "# ours\n127.0.0.1:{silent_port}\n\n127.0.0.1:{port}  # by its address\nnot a host\n127.0.0.1:{gone}\n"
    );
    let began = Instant::now();
    let said = shop.probe_list(&list, &[]);
    assert!(began.elapsed() < Duration::from_secs(30));
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("-:5: ") && said.err.contains("\"not a host\""), "{}", said.err);
    let heads: Vec<&str> = said.out.lines().filter(|line| line.starts_with("FAIL  127")).collect();
    assert_eq!(heads, [silent_port, port, gone].map(|port| format!("FAIL  127.0.0.1:{port}")));
    assert!(said.out.ends_with("\n4 targets: 3 FAIL, 1 not judged\n"), "{}", said.out);
    let said = shop.probe_list("what is this\n", &["--quick"]);
    assert_eq!((said.code, said.out.as_str()), (3, ""), "{said:?}");
    let well = shop.probe(&["shop.example.com", "shop.example.com:1", "--connect", &good.address().to_string()]);
    assert!(well.code == 0 && well.out.ends_with("2 targets: 2 ok\n"), "{well:?}");
}

#[test]
fn json_is_a_document_a_line_and_keeps_to_its_schema() {
    let schema: Value = serde_json::from_str(include_str!("../../examples/schemas/probe-1.json")).expect("JSON");
    let shop = Shop::new();
    let good = shop.serve(1, &shop.intermediate);
    let (port, gone) = (good.address().port(), free_port());
    let list = format!("127.0.0.1:{port}\n127.0.0.1:{gone}\n");
    let said = shop.probe_list(&list, &["--json"]);
    let documents: Vec<Value> = said.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((said.code, documents.len()), (2, 2));
    assert_eq!(labels(&documents[0]), ["name_mismatch"]);
    assert_eq!(labels(&documents[1]), ["tcp_refused"]);
    let single = shop.probe(&["shop.example.com", "--connect", &good.address().to_string(), "--json"]).json();
    assert_eq!((labels(&single), &single["verdict"]), (vec!["ok"], &"ok".into()));
    assert_eq!(single["endpoints"][0]["certificates"].as_array().map(Vec::len), Some(2));
    fs::write(shop.dir.path().join("leaf.pem"), &shop.leaf).expect("written");
    let mut verify = program(&["verify", "leaf.pem", "--ca", "root.pem", "--json"]);
    verify.current_dir(shop.dir.path());
    for document in documents.iter().chain([&single, &left(verify).json()]) {
        keeps_to(document, &schema, &schema, "document");
    }
}

/// As far as the schema goes: types, constants, and no field that it does not know.
pub(crate) fn keeps_to(value: &Value, schema: &Value, whole: &Value, place: &str) {
    if let Some(name) = schema["$ref"].as_str().and_then(|it| it.strip_prefix("#/$defs/")) {
        return keeps_to(value, &whole["$defs"][name], whole, place);
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let allowed = match &schema["type"] {
        Value::String(one) => one == kind,
        Value::Array(several) => several.iter().any(|it| it == kind),
        _ => true,
    };
    assert!(allowed, "{place} is {value}");
    assert!(schema.get("const").is_none_or(|it| it == value), "{place} is {value}");
    assert!(schema["enum"].as_array().is_none_or(|it| it.contains(value)), "{place} is {value}");
    for (at, item) in value.as_array().into_iter().flatten().enumerate() {
        keeps_to(item, &schema["items"], whole, &format!("{place}[{at}]"));
    }
    let (Some(fields), Some(known)) = (value.as_object(), schema["properties"].as_object()) else { return };
    for (name, field) in fields {
        let known = known.get(name).unwrap_or_else(|| panic!("{place}.{name} is not in the schema"));
        keeps_to(field, known, whole, &format!("{place}.{name}"));
    }
    let required = schema["required"].as_array().into_iter().flatten();
    required.for_each(|name| assert!(fields.contains_key(name.as_str().expect("text")), "{place} lacks {name}"));
}

#[test]
fn monitoring_gets_its_line_and_its_code() {
    let shop = Shop::new();
    let (good, bare) = (shop.serve(1, &shop.intermediate), shop.serve(2, ""));
    let at = |server: &SServer| server.address().to_string();
    let well = shop.probe(&["shop.example.com", "--connect", &at(&good), "--nagios"]);
    assert_eq!(well.code, 0, "{well:?}");
    assert!(
        well.out.starts_with("EVERLEAF OK - shop.example.com:443: ok: ") && well.out.lines().count() == 1,
        "{well:?}"
    );
    let place = SocketAddr::from(([127, 0, 0, 3], free_port()));
    let modern = SServer::bare(place, &shop.leaf, &shop.intermediate, &shop.key, &["-tls1_3"]);
    let noted = shop.probe(&["shop.example.com", "--connect", &at(&modern), "--nagios"]);
    assert_eq!((noted.code, &noted.out), (0, &well.out), "what is only to be known comes after what is well");
    let shown = shop.probe(&["shop.example.com", "--connect", &at(&modern)]).out;
    assert!(shown.starts_with("ok    shop.example.com:443\n") && shown.contains(";\n      tls13_only\n"), "{shown}");
    let bad = shop.probe(&["shop.example.com", "--connect", &at(&bare), "--nagios"]);
    assert_eq!(bad.code, 2);
    let wanted = "EVERLEAF CRITICAL - shop.example.com:443: missing_intermediate: ";
    assert!(bad.out.starts_with(wanted) && bad.out.lines().count() == 1, "{bad:?}");
    let unknown = program(&["probe", "shop.example.com", "--nagios", "--ca", "/nowhere"]);
    let unknown = left(unknown);
    assert!(unknown.code == 3 && unknown.out.starts_with("EVERLEAF UNKNOWN - /nowhere: "), "{unknown:?}");
}

#[test]
fn trust_stores_are_judged_side_by_side() {
    let shop = Shop::new();
    let server = shop.serve(1, &shop.intermediate);
    let place = server.address().to_string();
    let found = |stores: &[&str]| {
        let mut command = program(&["probe", "shop.example.com", "--connect", &place, "--json"]);
        command.args(stores.iter().flat_map(|store| ["--ca", store])).current_dir(shop.dir.path());
        let document = left(command).json();
        (labels(&document)[0].to_owned(), document["findings"][0]["seen"].as_str().expect("text").to_owned())
    };
    let (label, seen) = found(&["mozilla"]);
    assert!(label == "untrusted_root" && seen.ends_with("not in the trust store mozilla"), "{label}: {seen}");
    let (label, seen) = found(&["root.pem", "mozilla"]);
    assert!(
        label == "trust_store_mismatch" && seen.contains("trusted by root.pem, and not by mozilla"),
        "{label}: {seen}"
    );
}

#[test]
fn the_configurations_endpoints_are_its_fleets() {
    let shop = Shop::new();
    let (good, bare) = (shop.serve(1, &shop.intermediate), shop.serve(2, ""));
    let rest = format!(
        "issuers: {{ ca: {{ directory: 'https://127.0.0.1:1/dir', roots: '{}' }} }}\n\
         nodes: {{ edge1: {{ type: local, reload: {{ exec: ['true'] }} }}, edge2: {{ type: local, reload: {{ exec: ['true'] }} }} }}\n\
         certificates:\n  - {{ name: shop, names: [shop.example.com], solver: {{ http-01: {{ listen: '127.0.0.1:1' }} }}, \
         nodes: [edge1, edge2], endpoints: [{{ address: '{}', node: edge1 }}, {{ address: '{}', node: edge2 }}] }}\n",
        shop.root().display(),
        good.address(),
        bare.address()
    );
    let said = Desk::new(&rest).run(&["probe", "--all", "--json"]);
    assert_eq!(said.code, 2, "{said:?}");
    let document = said.json();
    assert_eq!(labels(&document), ["node_chain_broken"]);
    assert_eq!(document["findings"][0]["node"], "edge2");
    assert_eq!(document["findings"][0]["address"], bare.address().to_string());
}

#[test]
fn the_configurations_endpoints_of_this_machine_are_held_against_its_live_directories() {
    let (shop, renewed) = (Shop::new(), Shop::new());
    let server = shop.serve(1, &shop.intermediate);
    let desk = Desk::new(&format!(
        "issuers: {{ ca: {{ directory: 'https://127.0.0.1:1/dir', roots: '{}' }} }}\n\
         nodes: {{ edge: {{ type: local, reload: {{ exec: ['true'] }} }} }}\n\
         certificates:\n  - {{ name: shop, names: [shop.example.com], solver: {{ http-01: {{ listen: '127.0.0.1:1' }} }}, \
         nodes: [edge], endpoints: [{{ address: '{}' }}] }}\n",
        shop.root().display(),
        server.address()
    ));
    let found = || {
        let said = desk.run(&["probe", "--all", "--json"]);
        labels(&said.json()).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(found(), ["ok"], "nothing was published yet");
    let live = desk.path("live/shop");
    fs::create_dir_all(&live).expect("made");
    for (of, label) in [(&shop, "ok"), (&renewed, "served_older_than_disk")] {
        for (name, text) in
            [("fullchain.pem", format!("{}{}", of.leaf, of.intermediate)), ("privkey.pem", of.key.clone())]
        {
            fs::write(live.join(name), text).expect("written");
            fs::set_permissions(live.join(name), fs::Permissions::from_mode(0o600)).expect("private");
        }
        assert_eq!(found(), [label]);
    }
    fs::create_dir_all(desk.path("state/certs/shop/gen/0001-3fa94c1b")).expect("made");
    fs::remove_dir_all(&live).expect("removed");
    assert_eq!(found(), ["disk_file_missing"], "it was published once");
    let both = desk.run(&["probe", "--all", "--live", "/nowhere"]);
    assert!(both.code == 64 && both.err.contains("--live"), "{both:?}");
}

#[test]
fn what_is_served_is_held_against_the_files_and_what_loads_them() {
    let shop = Shop::new();
    let server = shop.serve(1, &shop.intermediate);
    let at = server.address();
    let write = |name: &str, text: &str| {
        let path = shop.dir.path().join(name);
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("private");
        path.display().to_string()
    };
    let chain = write("chain.pem", &format!("{}{}", shop.leaf, shop.intermediate));
    let (key, half) = (write("key.pem", &shop.key), write("half.pem", &shop.leaf[..200]));
    let place = at.to_string();
    let found = |more: &[&str]| {
        let said = shop.probe(&[&["shop.example.com", "--connect", &place, "--json"], more].concat());
        labels(&said.json()).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(found(&["--fullchain", &chain, "--key", &key]), ["ok"]);
    assert_eq!(found(&["--fullchain", &half, "--key", &key]), ["disk_file_corrupt"]);
    assert_eq!(found(&["--fullchain", &chain, "--key", &key, "--user", "nobody"]), ["disk_key_unreadable"]);
    assert_eq!(found(&["--live", "/nowhere/at/all"]), ["disk_file_missing"]);
    let config =
        |chain: &str| format!("server {{ listen {at} ssl; ssl_certificate {chain}; ssl_certificate_key {key}; }}");
    let (right, wrong) = (write("right.conf", &config(&chain)), write("wrong.conf", &config(&half)));
    assert_eq!(found(&["--fullchain", &chain, "--key", &key, "--nginx", &right]), ["ok"]);
    assert_eq!(found(&["--fullchain", &chain, "--key", &key, "--nginx", &wrong]), ["config_points_elsewhere"]);
    let proxy = write("haproxy.cfg", &format!("frontend web\n bind {at} ssl crt {half}\n"));
    assert_eq!(found(&["--fullchain", &chain, "--key", &key, "--haproxy", &proxy]), ["config_points_elsewhere"]);
    let unread = shop.probe(&["shop.example.com", "--fullchain", &chain, "--nginx", "/nowhere"]);
    assert!(unread.code == 3 && unread.err.contains("/nowhere"), "{unread:?}");
}
