//! HAProxy: what its runtime API lists, or what its configuration loads.

use super::Loads;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// What is asked of the runtime API.
pub const LIST: &str = "show ssl cert\n";
/// Certificates that are told apart; whoever has more is told of those.
const MAX_FILES: usize = 20_000;

/// The files in the runtime API's answer to [`LIST`]. Nothing when it is none, or when files are not named whole.
#[must_use]
pub fn listed(reply: &str) -> Option<Loads> {
    if !reply.lines().any(|line| line.trim() == "# filename") {
        return None;
    }
    // A star stands before what a transaction has open.
    let names = reply.lines().map(|line| line.trim().trim_start_matches('*'));
    let names = names.filter(|line| !line.is_empty() && !line.starts_with('#')).take(MAX_FILES);
    whole(Loads {
        place: "HAProxy, show ssl cert".into(),
        certificates: names.map(PathBuf::from).collect(),
        ..Loads::default()
    })
}

/// The files that the binds at `port` load; those of all binds when none names it. Nothing where none is named, or where
/// the environment would decide.
#[must_use]
pub fn loads(config: &str, port: u16) -> Option<Loads> {
    let mut reader = Reader::default();
    for line in config.lines() {
        reader.line(&words(line));
    }
    let here = reader.binds.iter().any(|bind| bind.covers(port));
    let binds: Vec<&Bind> = reader.binds.iter().filter(|bind| !here || bind.covers(port)).collect();
    let first = binds.first()?;
    let mut found =
        Loads { place: format!("HAProxy, bind {} of {}", first.address, first.section), ..Loads::default() };
    for bind in binds {
        for name in &bind.certificates {
            match reader.stored.get(name) {
                Some((certificate, key)) => {
                    found.certificates.push(certificate.clone());
                    found.keys.extend(key.clone());
                }
                None => found.certificates.push(reader.base.join(name)),
            }
        }
        found.lists.extend(bind.lists.iter().map(PathBuf::from));
    }
    whole(found)
}

/// The files in a list (`crt-list`): the first word of each line.
#[must_use]
pub fn list(text: &str) -> Vec<PathBuf> {
    text.lines().filter_map(|line| words(line).into_iter().next()).take(MAX_FILES).map(PathBuf::from).collect()
}

/// Only what is named from the root on: nobody knows where HAProxy was started.
fn whole(found: Loads) -> Option<Loads> {
    let named = |path: &PathBuf| path.is_absolute() && !path.to_string_lossy().contains('$');
    let all = [&found.certificates, &found.keys, &found.lists];
    let any = !found.certificates.is_empty() || !found.lists.is_empty();
    (any && all.into_iter().flatten().all(named)).then_some(found)
}

struct Bind {
    section: String,
    address: String,
    certificates: Vec<String>,
    lists: Vec<String>,
}

impl Bind {
    /// `*:443`, `:::443`, `ipv4@10.0.0.1:443`, `:8000-8010`, several with commas between.
    fn covers(&self, port: u16) -> bool {
        self.address.split(',').filter_map(|place| place.rsplit_once(':')).any(|(_, ports)| {
            let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
            matches!((first.parse::<u16>(), last.parse::<u16>()), (Ok(first), Ok(last)) if first <= port && port <= last)
        })
    }
}

#[derive(Default)]
struct Reader {
    section: String,
    base: PathBuf,
    /// Of the store that is read.
    store: Option<String>,
    store_base: Option<PathBuf>,
    store_key_base: Option<PathBuf>,
    stored: HashMap<String, (PathBuf, Option<PathBuf>)>,
    binds: Vec<Bind>,
}

impl Reader {
    fn line(&mut self, words: &[String]) {
        const SECTIONS: [&str; 16] = [
            "global",
            "defaults",
            "frontend",
            "backend",
            "listen",
            "peers",
            "resolvers",
            "userlist",
            "mailers",
            "program",
            "cache",
            "ring",
            "http-errors",
            "log-forward",
            "crt-store",
            "traces",
        ];
        let Some((first, rest)) = words.split_first() else { return };
        if SECTIONS.contains(&first.as_str()) {
            self.section = words.iter().take(2).cloned().collect::<Vec<_>>().join(" ");
            self.store = (first == "crt-store").then(|| rest.first().cloned().unwrap_or_default());
            (self.store_base, self.store_key_base) = (None, None);
            return;
        }
        match (first.as_str(), &self.store) {
            ("crt-base", None) if self.section == "global" => {
                self.base = PathBuf::from(rest.first().cloned().unwrap_or_default());
            }
            ("crt-base", Some(_)) => self.store_base = rest.first().map(PathBuf::from),
            ("key-base", Some(_)) => self.store_key_base = rest.first().map(PathBuf::from),
            ("load", Some(store)) => {
                let store = store.clone();
                self.load(&store, rest);
            }
            ("bind", None) => self.bind(rest),
            // Where a frontend names its certificates apart, they are those of its binds.
            ("ssl-f-use", None) => {
                let section = &self.section;
                let mine = self.binds.iter_mut().rev().find(|bind| bind.section == *section);
                if let Some(bind) = mine {
                    bind.certificates.extend(after(rest, "crt"));
                }
            }
            _ => {}
        }
    }

    fn load(&mut self, store: &str, words: &[String]) {
        let Some(name) = after(words, "crt").next() else { return };
        let base = self.store_base.as_deref().unwrap_or(&self.base);
        let certificate = base.join(&name);
        let key_base = self.store_key_base.as_deref().unwrap_or(Path::new(""));
        let key = after(words, "key").next().map(|key| key_base.join(key));
        let alias = after(words, "alias").next();
        for called in [Some(name), alias].into_iter().flatten() {
            self.stored.insert(format!("@{store}/{called}"), (certificate.clone(), key.clone()));
        }
    }

    fn bind(&mut self, words: &[String]) {
        let Some((address, rest)) = words.split_first() else { return };
        let bind = Bind {
            section: self.section.clone(),
            address: address.clone(),
            certificates: after(rest, "crt").collect(),
            lists: after(rest, "crt-list").collect(),
        };
        if rest.iter().any(|word| word == "ssl") && self.binds.len() < MAX_FILES {
            self.binds.push(bind);
        }
    }
}

/// What stands behind each `keyword`.
fn after(words: &[String], keyword: &str) -> impl Iterator<Item = String> {
    words.windows(2).filter(move |pair| pair[0] == keyword).map(|pair| pair[1].clone())
}

/// The words of a line: quotes and escapes undone, without its comment.
fn words(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(characters.next()),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#') => break,
            (None, c) if c.is_whitespace() => found.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    found.extend(word);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"
global
    crt-base /etc/haproxy/certs   # where they are
frontend web
    bind *:80
    bind :443,:::443 ssl crt shop.pem crt "/live/my shop/bundle.pem" alpn h2
    bind ipv4@10.0.0.1:8000-8010 ssl crt-list /etc/haproxy/list.txt
listen mail
    bind :993 ssl crt "@mail/imap"
    ssl-f-use crt extra\ file.pem
crt-store mail
    crt-base /mail
    key-base /mail/keys
    load crt "a.pem" key "a.key" alias "imap"
frontend env
    bind :9443 ssl crt "${CERTS}/a.pem"
"#;

    fn certificates(port: u16) -> Vec<String> {
        let found = loads(CONFIG, port).map(|it| [it.certificates, it.keys, it.lists].concat()).unwrap_or_default();
        found.iter().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn the_binds_of_a_port_name_their_files() {
        assert_eq!(certificates(443), ["/etc/haproxy/certs/shop.pem", "/live/my shop/bundle.pem"]);
        assert_eq!(certificates(8005), ["/etc/haproxy/list.txt"]);
        assert_eq!(certificates(993), ["/mail/a.pem", "/etc/haproxy/certs/extra file.pem", "/mail/keys/a.key"]);
        assert_eq!(certificates(9443), [""; 0], "the environment decides");
        assert_eq!(certificates(1), [""; 0], "all of them, one of which is not known");
        assert_eq!(list("# x\n/a.pem [alpn h2] a.test\n\n\"/b c.pem\"\n"), ["/a.pem", "/b c.pem"].map(PathBuf::from));
    }

    #[test]
    fn what_the_runtime_api_lists_is_read() {
        let files = |reply: &str| listed(reply).map(|it| it.certificates);
        let reply = "# transaction\n*/etc/b.pem\n\n# filename\n/etc/a.pem\n/etc/b.pem\n\n";
        assert_eq!(files(reply).expect("a list").len(), 3);
        assert_eq!(files("# filename\n\n"), None, "none");
        assert_eq!(files("# filename\nrelative.pem\n"), None, "nobody knows where");
        assert_eq!(files("Unknown command.\n"), None);
    }

    #[test]
    fn nonsense_is_nothing() {
        for text in
            ["", "bind", "bind :443 ssl crt", "bind :443 ssl crt \"", "\\", "frontend\n bind ssl ssl ssl", "load crt"]
        {
            assert_eq!(loads(text, 443), None, "{text:?}");
        }
    }
}
