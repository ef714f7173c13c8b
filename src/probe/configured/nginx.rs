//! nginx: the configuration as `nginx -T` prints it, every file under its own name, includes not yet followed.

use super::Loads;
use crate::types::Identifier;
use std::net::{IpAddr, SocketAddr};
use std::path::{Component, Path, PathBuf};

/// What stands before each file.
const FILE: &str = "# configuration file ";
/// Blocks and includes within each other.
const MAX_DEPTH: usize = 64;
/// Words read in all: includes can double what is there many times over.
const MAX_WORDS: usize = 1_000_000;

/// The certificate files of the server that answers for `name` at `address`. Nothing where none is there, where a
/// regular expression or a variable would decide, or where the text is none of nginx.
#[must_use]
pub fn loads(dump: &str, name: Option<&Identifier>, address: SocketAddr) -> Option<Loads> {
    let files = files(dump);
    let (main, _) = files.first()?;
    let mut reader = Reader {
        base: Path::new(main).parent().unwrap_or(Path::new("/")),
        files: &files,
        blocks: vec![Block::default()],
        servers: Vec::new(),
        words: 0,
    };
    reader.file(0)?;
    let Reader { base, servers, .. } = reader;
    let server = chosen(&servers, name, address)?;
    let certificates = paths(base, &server.certificates)?;
    if certificates.is_empty() {
        return None;
    }
    let who = server.names.first().map_or("the default server", String::as_str);
    let place = format!("nginx, server {who} in {}", server.file);
    Some(Loads { place, certificates, keys: paths(base, &server.keys)?, lists: Vec::new() })
}

/// The files of a dump with their names, the main one first. A text without names is one file.
fn files(dump: &str) -> Vec<(&str, &str)> {
    let mut found: Vec<(&str, &str)> = Vec::new();
    let mut begin = None;
    let mut at = 0;
    for line in dump.split_inclusive('\n') {
        let named = line.trim_end().strip_prefix(FILE).and_then(|rest| rest.strip_suffix(':'));
        if let Some(name) = named {
            if let Some((name, from)) = begin {
                found.push((name, &dump[from..at]));
            }
            begin = Some((name, at + line.len()));
        }
        at += line.len();
    }
    found.push(begin.map_or(("/etc/nginx/nginx.conf", dump), |(name, from)| (name, &dump[from..])));
    found
}

/// Paths as nginx resolves them: below the main configuration's directory. Nothing where a variable or an engine is named.
fn paths(base: &Path, words: &[String]) -> Option<Vec<PathBuf>> {
    let path = |word: &String| {
        let beyond = word.contains('$') || ["data:", "engine:", "store:"].iter().any(|it| word.starts_with(it));
        (!beyond).then(|| base.join(word))
    };
    words.iter().map(path).collect()
}

/// A block that certificates are inherited through.
#[derive(Default, Clone)]
struct Block {
    kind: String,
    names: Vec<String>,
    listens: Vec<Listen>,
    certificates: Vec<String>,
    keys: Vec<String>,
    /// The servers that began within it.
    first: usize,
}

struct Server {
    file: String,
    names: Vec<String>,
    listens: Vec<Listen>,
    certificates: Vec<String>,
    keys: Vec<String>,
}

#[derive(Clone, Copy)]
struct Listen {
    ip: Option<IpAddr>,
    port: u16,
    default: bool,
}

struct Reader<'a> {
    base: &'a Path,
    files: &'a [(&'a str, &'a str)],
    blocks: Vec<Block>,
    servers: Vec<Server>,
    words: usize,
}

impl<'a> Reader<'a> {
    /// Reads the file at `first`, and what it includes where it does. Nothing when that has no end.
    fn file(&mut self, first: usize) -> Option<()> {
        let mut open: Vec<(usize, &'a str)> = vec![(first, self.files[first].1)];
        let mut words: Vec<String> = Vec::new();
        while let Some((file, rest)) = open.last_mut() {
            let file = *file;
            match token(rest) {
                Token::Word(word) => {
                    self.words += 1;
                    words.push(word);
                }
                Token::End => {
                    open.pop();
                }
                Token::Open => {
                    let kind = words.first().cloned().unwrap_or_default();
                    if kind.ends_with("_by_lua_block") {
                        *rest = after_block(rest);
                    } else {
                        self.blocks.push(Block { kind, first: self.servers.len(), ..Block::default() });
                    }
                    words.clear();
                }
                Token::Close => self.close(file),
                Token::Semicolon => {
                    if let [directive, pattern] = words.as_slice()
                        && directive == "include"
                    {
                        let mut included = self.included(pattern);
                        self.words += included.len() + 1;
                        included.reverse();
                        open.extend(included);
                    } else {
                        self.directive(&words);
                    }
                    words.clear();
                }
            }
            if self.words > MAX_WORDS || open.len() > MAX_DEPTH * 64 || self.blocks.len() > MAX_DEPTH {
                return None;
            }
        }
        Some(())
    }

    fn included(&self, pattern: &str) -> Vec<(usize, &'a str)> {
        let pattern = self.base.join(pattern);
        let pattern = pattern.to_string_lossy();
        let fits = |(at, (name, text)): (usize, &(&'a str, &'a str))| fits(&pattern, name).then_some((at, *text));
        self.files.iter().enumerate().filter_map(fits).collect()
    }

    fn directive(&mut self, words: &[String]) {
        let Some(block) = self.blocks.last_mut() else { return };
        let Some((directive, arguments)) = words.split_first() else { return };
        match directive.as_str() {
            "server_name" => block.names.extend(arguments.iter().map(|name| name.to_ascii_lowercase())),
            "listen" => block.listens.extend(listen(arguments)),
            "ssl_certificate" => block.certificates.extend(arguments.first().cloned()),
            "ssl_certificate_key" => block.keys.extend(arguments.first().cloned()),
            _ => {}
        }
    }

    fn close(&mut self, file: usize) {
        if self.blocks.len() < 2 {
            return;
        }
        let Some(block) = self.blocks.pop() else { return };
        if block.kind == "server" {
            let Block { names, listens, certificates, keys, .. } = block;
            let file = self.files[file].0.to_owned();
            self.servers.push(Server { file, names, listens, certificates, keys });
            return;
        }
        // What stands in http counts for its servers that have none of their own.
        for server in self.servers.iter_mut().skip(block.first) {
            if server.certificates.is_empty() {
                server.certificates.clone_from(&block.certificates);
                server.keys.clone_from(&block.keys);
            }
        }
    }
}

/// `ADDRESS:PORT`, `ADDRESS`, `PORT`, with `default_server` among what follows. Sockets of files are none.
fn listen(arguments: &[String]) -> Option<Listen> {
    let (place, more) = arguments.split_first()?;
    let default = more.iter().any(|word| word == "default_server" || word == "default");
    let listen = |ip, port| Some(Listen { ip, port, default });
    if place.starts_with("unix:") {
        return None;
    }
    if let Ok(port) = place.parse() {
        return listen(None, port);
    }
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (place.as_str(), 80),
    };
    let ip: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    listen(ip.filter(|ip| !ip.is_unspecified()), port)
}

/// The server that nginx takes: those that listen at just this address before those that listen at all of them, then by name:
/// exact, the longest wildcard, a regular expression (which nobody reads here), the default.
fn chosen<'s>(servers: &'s [Server], name: Option<&Identifier>, address: SocketAddr) -> Option<&'s Server> {
    let listening = |is: &dyn Fn(&Listen) -> bool| {
        servers.iter().filter(|server| server.listens.iter().any(is)).collect::<Vec<_>>()
    };
    let here = |it: &Listen| it.port == address.port();
    // Behind a forwarded port all that is known is the name.
    let tries: [&dyn Fn(&Listen) -> bool; 4] =
        [&|it| here(it) && it.ip == Some(address.ip()), &|it| here(it) && it.ip.is_none(), &here, &|_| true];
    let (at, found) =
        tries.iter().enumerate().map(|(at, is)| (at, listening(is))).find(|(_, found)| !found.is_empty())?;
    let asked = match name {
        Some(Identifier::Dns(name)) => name.as_str(),
        _ => "",
    };
    let best = found.iter().filter_map(|server| {
        let fit = server.names.iter().filter_map(|have| matched(have, asked)).max()?;
        Some((fit, *server))
    });
    // The first of those that fit alike, as in nginx.
    if let Some((_, server)) = best.rev().max_by_key(|(fit, _)| *fit) {
        return Some(server);
    }
    let expressions = found.iter().any(|server| server.names.iter().any(|have| have.starts_with('~')));
    if expressions || (at == tries.len() - 1 && found.len() > 1) {
        return None;
    }
    let default = |server: &&&Server| server.listens.iter().any(|it| it.default && tries[at](it));
    found.iter().find(default).or(found.first()).copied()
}

/// How well a server's name fits: exact before `*.` before `.*`, and longer before shorter.
fn matched(have: &str, asked: &str) -> Option<(u8, usize)> {
    if have == asked && !asked.is_empty() {
        return Some((3, have.len()));
    }
    if let Some(base) = have.strip_prefix('.') {
        // The name itself, and all below it.
        let fits = asked == base || asked.strip_suffix(base).is_some_and(|rest| rest.ends_with('.'));
        return fits.then_some((if asked == base { 3 } else { 2 }, have.len()));
    }
    if let Some(base) = have.strip_prefix("*.") {
        return asked.strip_suffix(base).is_some_and(|rest| rest.ends_with('.')).then_some((2, have.len()));
    }
    let base = have.strip_suffix(".*")?;
    asked.strip_prefix(base).is_some_and(|rest| rest.starts_with('.')).then_some((1, have.len()))
}

enum Token {
    Word(String),
    Open,
    Close,
    Semicolon,
    End,
}

/// The next token, and `text` moved behind it.
fn token(text: &mut &str) -> Token {
    loop {
        *text = text.trim_start();
        let Some(first) = text.chars().next() else { return Token::End };
        let token = match first {
            '#' => {
                *text = text.split_once('\n').map_or("", |(_, rest)| rest);
                continue;
            }
            ';' => Token::Semicolon,
            '{' => Token::Open,
            '}' => Token::Close,
            quote @ ('"' | '\'') => {
                let (word, rest) = word(&text[1..], |c| c == quote);
                *text = rest.get(1..).unwrap_or_default();
                return Token::Word(word);
            }
            _ => {
                let (word, rest) = word(text, |c| c.is_whitespace() || matches!(c, ';' | '{' | '}'));
                // `${name}` is one word.
                *text = rest;
                return Token::Word(word);
            }
        };
        *text = &text[1..];
        return token;
    }
}

/// Up to the character that ends it, escapes undone.
fn word(text: &str, ends: impl Fn(char) -> bool) -> (String, &str) {
    let mut word = String::new();
    let mut variable = false;
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' => word.extend(characters.next().map(|(_, escaped)| escaped)),
            '{' if word.ends_with('$') => {
                variable = true;
                word.push(c);
            }
            '}' if variable => {
                variable = false;
                word.push(c);
            }
            c if ends(c) => return (word, &text[at..]),
            c => word.push(c),
        }
    }
    (word, "")
}

/// Behind the brace that closes a block of Lua: braces in its strings and comments do not count.
fn after_block(text: &str) -> &str {
    let mut depth = 1usize;
    let mut quote = None;
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match (quote, c) {
            (_, '\\') => drop(characters.next()),
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, '-') if text[at..].starts_with("--") => quote = Some('\n'),
            (None, '{') => depth += 1,
            (None, '}') => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &text[at + 1..];
        }
    }
    ""
}

/// Whether a path fits a pattern of glob(7) without classes: `*` and `?` stand for no slash. Both are made plain first.
fn fits(pattern: &str, path: &str) -> bool {
    let (pattern, path) = (plain(pattern), plain(path));
    pattern.len() == path.len()
        && pattern.iter().zip(&path).all(|(pattern, path)| part(pattern.as_bytes(), path.as_bytes()))
}

/// Without `.` and with `..` undone.
fn plain(path: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(part) => parts.push(part.to_string_lossy().into_owned()),
            Component::ParentDir => drop(parts.pop()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    parts
}

/// One part of a path. The usual greedy walk: back only to the last star, so that no pattern takes long.
fn part(pattern: &[u8], name: &[u8]) -> bool {
    // A hidden file is asked for by its dot.
    if name.first() == Some(&b'.') && pattern.first() != Some(&b'.') {
        return false;
    }
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(b'?') => (p, n) = (p + 1, n + 1),
            Some(byte) if *byte == name[n] => (p, n) = (p + 1, n + 1),
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    (p, n) = (at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: &str = r#"nginx: the configuration file /etc/nginx/nginx.conf syntax is ok
# configuration file /etc/nginx/nginx.conf:
user www-data;
http {
    log_format main '$remote_addr; { "$request" }';
    ssl_certificate     default.pem;   # relative to /etc/nginx
    ssl_certificate_key default.key;
    include /etc/nginx/conf.d/*.conf;
    include sites-enabled/*;
    server { listen 8443 ssl; server_name ~^shop\d+\.example$; }
}
stream { server { listen 993 ssl; ssl_certificate "/m x/mail.pem"; ssl_certificate_key '/m x/mail.key'; } }

# configuration file /etc/nginx/conf.d/shop.conf:
server {
    listen 443 ssl default_server; listen [::]:443 ssl;
    server_name shop.example www.shop.example;
    include snippets/shop.conf;
    content_by_lua_block { if a then return { b = "}" } end }
}
server { listen 443 ssl; server_name *.shop.example; ssl_certificate /wild.pem; ssl_certificate_key /wild.key; }
# configuration file /etc/nginx/snippets/shop.conf:
ssl_certificate /live/shop/fullchain.pem;
ssl_certificate_key /live/shop/privkey.pem;
# configuration file /etc/nginx/conf.d/ignored.txt:
server { listen 443 ssl; server_name ignored.example; ssl_certificate /ignored.pem; }
# configuration file /etc/nginx/sites-enabled/plain:
server { listen 443 ssl; server_name .plain.example; }
server { listen 10.0.0.9:443 ssl; server_name shop.example; ssl_certificate /nine.pem; ssl_certificate_key /nine.key; }
server { listen 443 ssl; server_name late.example; ssl_certificate $ssl_server_name.pem; ssl_certificate_key x; }
"#;

    fn certificate(name: &str, address: &str) -> Option<String> {
        let name: Option<Identifier> = (!name.is_empty()).then(|| name.parse().unwrap());
        let found = loads(DUMP, name.as_ref(), address.parse().unwrap())?;
        assert_eq!(found.certificates.len(), found.keys.len(), "{found:?}");
        Some(found.certificates[0].display().to_string())
    }

    #[test]
    fn the_server_that_answers_is_found() {
        for (name, address, expected) in [
            ("shop.example", "10.0.0.1:443", Some("/live/shop/fullchain.pem")),
            ("www.shop.example", "[::1]:443", Some("/live/shop/fullchain.pem")),
            ("api.shop.example", "10.0.0.1:443", Some("/wild.pem")),
            ("plain.example", "10.0.0.1:443", Some("/etc/nginx/default.pem")),
            ("a.plain.example", "10.0.0.1:443", Some("/etc/nginx/default.pem")),
            ("other.example", "10.0.0.1:443", Some("/live/shop/fullchain.pem")),
            ("", "10.0.0.1:443", Some("/live/shop/fullchain.pem")),
            ("ignored.example", "10.0.0.1:443", Some("/live/shop/fullchain.pem")),
            ("shop.example", "10.0.0.9:443", Some("/nine.pem")),
            ("mail.example", "10.0.0.1:993", Some("/m x/mail.pem")),
            // A regular expression or a variable would decide.
            ("shop1.example", "10.0.0.1:8443", None),
            ("late.example", "10.0.0.1:443", None),
            // Behind a forwarded port the name alone tells.
            ("www.shop.example", "10.0.0.1:4430", Some("/live/shop/fullchain.pem")),
            ("nobody.example", "10.0.0.1:4430", None),
        ] {
            assert_eq!(certificate(name, address).as_deref(), expected, "{name} at {address}");
        }
    }

    #[test]
    fn includes_without_end_and_other_nonsense_are_nothing() {
        let ask = |dump: &str| loads(dump, None, "10.0.0.1:443".parse().unwrap());
        assert_eq!(ask("# configuration file /a:\ninclude /a;\n"), None);
        assert_eq!(ask("# configuration file /a:\ninclude /a; include /a; include /a;\n"), None);
        assert_eq!(ask(&"a {".repeat(100_000)), None);
        assert_eq!(ask(&"}".repeat(100_000)), None);
        for text in
            ["", "<html>", "\"", "'", "\\", "server {", "listen", "# configuration file :\n", "server { listen 443; }"]
        {
            assert_eq!(ask(text), None, "{text:?}");
        }
        let cut = "server { listen 443 ssl; ssl_certificate /a.pem; ssl_certificate_key /a.key; }";
        assert!(ask(cut).is_some());
    }

    #[test]
    fn patterns_are_those_of_glob() {
        for (pattern, path, expected) in [
            ("/a/*.conf", "/a/b.conf", true),
            ("/a/*.conf", "/a/b/c.conf", false),
            ("/a/*.conf", "/a/.b.conf", false),
            ("/a/./x/../b", "/a/b", true),
            ("/a/?b*c", "/a/xbyyc", true),
            ("/a/*a*a*a*a*a*a*b", &format!("/a/{}", "a".repeat(4000)), false),
        ] {
            assert_eq!(fits(pattern, path), expected, "{pattern} {path}");
        }
    }
}
