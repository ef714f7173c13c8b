//! Everything ordered anew at once, on a fleet of which some is broken: what is done, what is said, what is left to do.

use crate::rig::scene::Scene;
use crate::rig::{Nginx, PebbleOptions, Validation, free_port, hosts, snapshot};
use std::io::{BufRead as _, Read as _};
use std::net::SocketAddr;

/// Certificates `c001`, `c002`, … on nodes `e001`, `e002`, …, all on this machine behind one nginx, which reads each file anew at
/// each handshake. The CA refuses the last certificate; of the last nodes one cannot be reached, one fails to reload, one
/// hangs in it.
struct Incident {
    scene: Scene,
    at: Vec<SocketAddr>,
    certificates: usize,
    _nginx: Nginx,
}

impl Incident {
    fn new(certificates: usize, nodes: usize) -> Self {
        let blocklist = vec![format!("c{certificates:03}.example.com")];
        let scene = Scene::new(PebbleOptions {
            blocklist,
            validation: Validation::Never,
            serve_http01: false,
            ..PebbleOptions::default()
        });
        let at: Vec<SocketAddr> = (0..nodes).map(|_| SocketAddr::from((hosts()[0], free_port()))).collect();
        let edges = scene.path("edges").display().to_string();
        let server = |(number, at): (usize, &SocketAddr)| {
            let live = format!("{edges}/e{:03}/$certificate", number + 1);
            format!(
                "server {{ listen {at} ssl; ssl_certificate {live}/fullchain.pem; ssl_certificate_key {live}/privkey.pem; return 200 ok; }}\n"
            )
        };
        let servers: String = at.iter().enumerate().map(server).collect();
        let nginx =
            Nginx::start(&format!("map $ssl_server_name $certificate {{ ~^(?<name>[^.]+) $name; }}\n{servers}"), at[0]);
        Self { scene, at, certificates, _nginx: nginx }
    }

    /// The configuration; `broken` or as it should be.
    fn yaml(&self, broken: bool) -> String {
        use std::fmt::Write as _;
        let edges = self.scene.path("edges").display().to_string();
        let nodes = self.at.len();
        let mut yaml = self.scene.preamble();
        let _ = write!(
            yaml,
            "limits: {{ hook: 2s }}\nnode_defaults: {{ live: \"{edges}/{{node}}\", reload: {{ exec: [\"true\"] }} }}\nnodes:\n  e001..{nodes:03}: {{}}\n"
        );
        if broken {
            let _ = write!(
                yaml,
                "  e{:03}: {{ type: ssh, host: \"ssh://{}:{}\" }}\n  e{:03}: {{ reload: {{ exec: [sh, -c, \"echo reading the \
                 configuration; echo 'nginx: [emerg] no port 443 for you' >&2; exit 1\"] }} }}\n  e{nodes:03}: {{ reload: {{ exec: [sleep, \"600\"] }} }}\n",
                nodes - 2,
                hosts()[0],
                free_port(),
                nodes - 1,
            );
        }
        let _ = write!(
            yaml,
            "groups: {{ edges: [e001..{nodes:03}] }}\ndefaults:\n  issuer: pebble\n  {}\n  nodes: edges\n  rollout: {{ parallel: {nodes} }}\n  \
             confirm: {{ handshakes: 1, over: 0s, drain: 0s }}\n  endpoints:\n",
            self.scene.solver()
        );
        for (number, at) in self.at.iter().enumerate() {
            let _ = writeln!(yaml, "    - {{ address: \"{at}\", node: e{:03} }}", number + 1);
        }
        yaml.push_str("certificates:\n");
        for number in 1..=self.certificates {
            let _ = writeln!(yaml, "  - {{ name: c{number:03}, names: [c{number:03}.example.com] }}");
        }
        yaml
    }
}

fn plain(scene: &Scene, said: &str) -> String {
    let port = regex::Regex::new(r"port \d{4,}").expect("a valid expression");
    port.replace_all(&scene.plain(said), "port PORT").into_owned()
}

/// What was said as it happened, by how often each was, without which certificate was first; and what was said at the end.
fn parted(said: &str) -> (Vec<String>, String) {
    let lines: Vec<&str> = said.lines().collect();
    let end = lines.iter().position(|line| line.starts_with("everleaf: ")).unwrap_or_default();
    let (before, after) = lines.split_at(end);
    let number = regex::Regex::new(r"^c\d+:|\b\d+ of \d+").expect("a valid expression");
    let mut kinds: Vec<String> = before.iter().map(|line| number.replace_all(line, "#").into_owned()).collect();
    kinds.sort();
    (kinds, after.join("\n") + "\n")
}

/// A fleet with a machine that is down, one that refuses to reload and one that hangs, and a name that the CA refuses: all else
/// goes on, each cause is told once, and what is left needs no order.
#[test]
fn all_of_a_broken_fleet_at_once() {
    let full = std::env::var_os("EVERLEAF_FULL").is_some();
    let (certificates, nodes) = if full { (40, 50) } else { (12, 10) };
    let mut incident = Incident::new(certificates, nodes);
    let scene = &incident.scene;
    scene.configure(&incident.yaml(true));
    let ran = scene.everleaf(&["renew", "--force", "--all"]).exits(1);
    let orders = scene.pebble.orders();
    let (before, after) = parted(&plain(scene, &ran.err));
    assert_eq!(before.iter().filter(|line| *line == "# issued, #").count(), certificates - 1);
    let others: Vec<String> = before.into_iter().filter(|line| line != "# issued, #").collect();
    if !full {
        snapshot("main_job/incident/as_it_happens", &(others.join("\n") + "\n"));
        snapshot("main_job/incident/at_the_end", &after);
    }
    assert!(ran.err.lines().count() < certificates + 40, "{}", ran.err);

    // The machine that is down stands for itself in an ordinary run as well, whoever it keeps waiting.
    let ran = scene.everleaf(&["run", "--json"]).exits(1);
    if !full {
        snapshot("main_job/incident/an_ordinary_run", &plain(scene, &ran.err));
    }
    // How wide columns are, and where lines break, hangs on this machine's addresses.
    let page = scene.everleaf(&["status"]).exits(0).out.split_whitespace().collect::<Vec<_>>().join(" ");
    let ended = nodes - 3;
    for said in [
        format!("{} not published never e{:03}", certificates - 1, nodes - 1),
        format!("{} not reloaded never {ended} nodes live: e001..{ended:03}", certificates - 1),
        format!("c001..{:03} node e{:03} (ssh://", certificates - 1, nodes - 2),
        "nginx: [emerg] no port 443 for you do: read the lines it printed".to_owned(),
        "| reading the configuration".to_owned(),
        "the whole story: everleaf why c001".to_owned(),
    ] {
        assert!(page.contains(&said), "{said} in {page}");
    }
    assert_eq!(page.matches("it cannot be reached").count(), 1, "{page}");
    let all = ran.json();
    let outcomes: Vec<&str> =
        all["certificates"].as_array().expect("a list").iter().filter_map(|it| it["outcome"].as_str()).collect();
    assert_eq!(outcomes.iter().filter(|it| **it == "deploy_incomplete").count(), certificates - 1);
    assert_eq!(outcomes.last(), Some(&"operator"));

    incident.certificates -= 1;
    let scene = &incident.scene;
    scene.run(&incident.yaml(false)).exits(0);
    assert_eq!(scene.pebble.orders(), orders, "what was issued was enough");
    let live = |it: &serde_json::Value| it["stage"] == "live" || it["stage"] == "retired";
    let status = scene.everleaf(&["status", "--json"]).exits(0).json();
    assert!(status["certificates"].as_array().expect("a list").iter().all(live), "{status:#}");

    // By hand to a group: each of its nodes is one more decision.
    let decisions = || scene.events("c001").iter().filter(|it| *it == "want_set").count();
    let before = decisions();
    scene.everleaf(&["deploy", "c001", "--to", "edges"]).exits(0);
    assert_eq!(decisions(), before + nodes);
}

/// Each node of a group that is named, and each node proven at once with others, is a decision of its own: many are no defect.
#[test]
fn a_certificate_on_forty_nodes_is_deployed_to_all_of_them_by_name() {
    let incident = Incident::new(2, 40);
    let scene = &incident.scene;
    scene.configure(&incident.yaml(false));
    scene.everleaf(&["renew", "c001"]).exits(0);
    let decided = || scene.events("c001").iter().filter(|it| *it == "want_set").count();
    let before = decided();
    scene.everleaf(&["deploy", "c001", "--to", "edges"]).exits(0);
    assert_eq!(decided(), before + 40);
    assert_eq!(scene.status("c001")["stage"], "live");
}

#[test]
fn ended_at_the_keyboard_it_says_what_is_kept_and_the_next_run_goes_on() {
    let incident = Incident::new(8, 3);
    let scene = &incident.scene;
    scene.configure(&incident.yaml(false));
    let mut child = scene.begin(&["renew", "--force", "--all"]);
    let mut said = std::io::BufReader::new(child.stderr.take().expect("piped"));
    let mut lines = String::new();
    while !lines.contains(": issued, 2 of 8") {
        assert_ne!(said.read_line(&mut lines).expect("text"), 0, "{lines}");
    }
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("signalled");
    said.read_to_string(&mut lines).expect("text");
    assert_eq!(child.wait().expect("it ends").code(), Some(75), "{lines}");
    let last = lines.lines().last().unwrap_or_default().to_owned();
    let counts = regex::Regex::new(r"\([^)]*\)").expect("a valid expression");
    assert!(counts.is_match(&last), "{last}");
    snapshot("main_job/incident/ended_at_the_keyboard", &(counts.replace(&last, "(COUNTS)").into_owned() + "\n"));

    // c008 is refused; each of the others was ordered once, or once more where its order was cut off.
    scene.everleaf(&["run"]).exits(1);
    for number in 1..8 {
        let name = format!("c{number:03}");
        let shop = scene.status(&name);
        assert_eq!(shop["stage"], "live", "{shop:#}");
        assert_eq!(scene.events(&name).iter().filter(|it| *it == "accepted").count(), 1);
    }
}
