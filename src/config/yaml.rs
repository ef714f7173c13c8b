//! YAML text to a tree in which every value knows its place.
//!
//! Built on the parser's events and not on serde, because serde stops at the first mistake: here a duplicate key, an
//! unquoted wildcard or a value of the wrong type is noted and the rest is read on. Only a syntax error ends a file.

use super::problem::{At, Problem, Sink, boundary};
use serde_yaml::granit_parser::{Event, Options, Parser, ScalarStyle, ScanError, Span, StructureStyle};
use std::collections::HashMap;
use std::rc::Rc;

/// Values in one file, aliases counted as often as they are used: 5,000 certificates need about 200,000.
const MAX_NODES: usize = 1_000_000;
/// How deep values nest, through aliases too. The configuration needs eight.
const MAX_DEPTH: usize = 32;

/// A value and its place.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) at: At,
    pub(super) value: Value,
}

#[derive(Debug, Clone)]
pub(super) enum Value {
    /// Text as written, escapes resolved. `plain` is false for quoted and block text.
    Scalar { text: String, plain: bool },
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order written, keys unique.
    Map(Vec<(Node, Node)>),
    /// Something already reported: whoever meets it says nothing more.
    Broken,
}

impl Node {
    /// Whether nothing is written: `key:`, `~` or `null`.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// The text of a scalar that is not null.
    pub(super) fn scalar(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } if !self.is_null() => Some(text),
            _ => None,
        }
    }

    /// The value under `key`, for looking ahead; readers use `Fields`.
    pub(super) fn child(&self, key: &str) -> Option<&Self> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|(name, _)| name.scalar() == Some(key)).map(|(_, value)| value),
            _ => None,
        }
    }

    /// What this is, for a message.
    pub(super) fn described(&self) -> String {
        match &self.value {
            _ if self.is_null() => "nothing".to_owned(),
            Value::Scalar { text, .. } if text.is_empty() => "an empty text".to_owned(),
            Value::Scalar { text, .. } => format!("`{}`", shortened(text)),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
            Value::Broken => "something unreadable".to_owned(),
        }
    }
}

/// The beginning of a text, for a message.
pub(super) fn shortened(text: &str) -> String {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Reads one file. `None` when it is empty or could not be read, which has then been said.
pub(super) fn parse(file: usize, text: &str, sink: &Sink) -> Option<Node> {
    let mut options = Options::default();
    options.set_emit_comments(false);
    options.emit_unresolved_aliases = true;
    options.disallow_directives = true;
    let mut builder = Builder { file, text, sink, stack: Vec::new(), anchors: HashMap::new(), nodes: 0, root: None };
    let mut documents = 0;
    for event in Parser::new_from_str_with_options(text, options) {
        match event {
            Err(error) => {
                sink.push(syntax_error(file, text, &error));
                return None;
            }
            Ok((Event::DocumentStart(..), span)) => {
                documents += 1;
                if documents > 1 {
                    let help = "write one document a file; further files go into conf.d/";
                    sink.push(Problem::error(builder.at(&span), "a second YAML document begins here").help(help));
                    break;
                }
            }
            Ok((event, span)) => builder.take(event, &span).map_err(|problem| sink.push(problem)).ok()?,
        }
    }
    builder.root.filter(|root| !root.is_null())
}

fn syntax_error(file: usize, text: &str, error: &ScanError) -> Problem {
    let start = error.marker().byte_offset().unwrap_or(text.len()).min(text.len());
    let line = text[..boundary(text, start)].rsplit('\n').next().unwrap_or_default();
    let help = if text.contains('\0') {
        "this is no text, or UTF-16: save the file as UTF-8"
    } else if line.contains('\t') || text.get(start..).is_some_and(|rest| rest.starts_with('\t')) {
        "YAML is indented with spaces, never with tabs"
    } else {
        "check the indentation here and on the line before, and that every `key:` is followed by a space and every quote and bracket is closed"
    };
    let at = At { file, start, end: start + 1 };
    Problem::error(at, format!("this is not YAML: {}", error.info())).help(help)
}

/// A collection being read.
struct Open {
    start: usize,
    flow: bool,
    anchor: usize,
    depth_below: usize,
    kind: OpenKind,
}

enum OpenKind {
    List(Vec<Node>),
    Map { entries: Vec<(Node, Node)>, key: Option<Node> },
}

/// What an alias stands for, with what it costs to repeat it.
struct Anchored {
    node: Rc<Node>,
    size: usize,
    depth: usize,
}

struct Builder<'a> {
    file: usize,
    text: &'a str,
    sink: &'a Sink,
    stack: Vec<Open>,
    anchors: HashMap<usize, Anchored>,
    nodes: usize,
    root: Option<Node>,
}

impl Builder<'_> {
    fn at(&self, span: &Span) -> At {
        let byte = |offset: Option<usize>| offset.unwrap_or(self.text.len()).min(self.text.len());
        let start = byte(span.start.byte_offset());
        At { file: self.file, start, end: byte(span.end.byte_offset()).max(start) }
    }

    /// Takes one event. An error ends the file.
    fn take(&mut self, event: Event<'_>, span: &Span) -> Result<(), Problem> {
        let at = self.at(span);
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let value = Value::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain };
                self.finished(Node { at, value }, anchor, 0)
            }
            Event::SequenceStart(style, anchor, _) => self.open(at, style, anchor, OpenKind::List(Vec::new())),
            Event::MappingStart(style, anchor, _) => {
                self.open(at, style, anchor, OpenKind::Map { entries: Vec::new(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(at),
            Event::Alias(id) => self.alias(at, id),
            Event::UnresolvedAlias(name) => {
                self.sink.push(unresolved(at, &name));
                self.finished(Node { at, value: Value::Broken }, 0, 0)
            }
            _ => Ok(()),
        }
    }

    fn open(&mut self, at: At, style: StructureStyle, anchor: usize, kind: OpenKind) -> Result<(), Problem> {
        if self.stack.len() >= MAX_DEPTH {
            return Err(Problem::error(at, format!("values nest deeper than {MAX_DEPTH} levels")));
        }
        self.stack.push(Open { start: at.start, flow: style == StructureStyle::Flow, anchor, depth_below: 0, kind });
        Ok(())
    }

    fn close(&mut self, at: At) -> Result<(), Problem> {
        let Some(open) = self.stack.pop() else { return Ok(()) };
        // The end of a block collection is where the next line begins, comments included: its last value ends sooner.
        let last = match &open.kind {
            OpenKind::List(items) => items.last(),
            OpenKind::Map { entries, .. } => entries.last().map(|(_, value)| value),
        };
        let end = if open.flow { at.end } else { last.map_or(at.start, |node| node.at.end) };
        let at = At { file: self.file, start: open.start, end: end.max(open.start) };
        let value = match open.kind {
            OpenKind::List(items) => Value::List(items),
            OpenKind::Map { entries, .. } => Value::Map(merged(entries, self.sink)),
        };
        self.finished(Node { at, value }, open.anchor, open.depth_below + 1)
    }

    fn alias(&mut self, at: At, id: usize) -> Result<(), Problem> {
        let Some(anchored) = self.anchors.get(&id) else {
            self.sink.push(Problem::error(at, "this alias stands inside the value it repeats"));
            return self.finished(Node { at, value: Value::Broken }, 0, 0);
        };
        let (depth, size) = (anchored.depth, anchored.size);
        if self.stack.len() + depth > MAX_DEPTH {
            return Err(Problem::error(at, format!("values nest deeper than {MAX_DEPTH} levels through this alias")));
        }
        if self.nodes + size > MAX_NODES {
            return Err(Problem::error(at, format!("aliases repeat more than {MAX_NODES} values")));
        }
        let node = Node::clone(&anchored.node);
        self.nodes += size.saturating_sub(1);
        self.finished(node, 0, depth)
    }

    /// Puts a finished value where it belongs.
    fn finished(&mut self, node: Node, anchor: usize, depth: usize) -> Result<(), Problem> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(Problem::error(node.at, format!("the file holds more than {MAX_NODES} values")));
        }
        if anchor != 0 {
            let size = size_of(&node);
            self.anchors.insert(anchor, Anchored { node: Rc::new(node.clone()), size, depth });
        }
        let Some(open) = self.stack.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        open.depth_below = open.depth_below.max(depth);
        match &mut open.kind {
            OpenKind::List(items) => items.push(node),
            OpenKind::Map { entries, key } => match key.take() {
                None => *key = Some(node),
                Some(key) => entries.push((key, node)),
            },
        }
        Ok(())
    }
}

fn size_of(node: &Node) -> usize {
    1 + match &node.value {
        Value::List(items) => items.iter().map(size_of).sum(),
        Value::Map(entries) => entries.iter().map(|(key, value)| size_of(key) + size_of(value)).sum(),
        Value::Scalar { .. } | Value::Broken => 0,
    }
}

fn unresolved(at: At, name: &str) -> Problem {
    if name.starts_with('.') || name.is_empty() {
        let help = format!("quote it: \"*{name}\"");
        return Problem::error(at, "a name that begins with `*` must be quoted: YAML takes it for an alias").help(help);
    }
    Problem::error(at, format!("no anchor `&{name}` is defined before this alias"))
        .help(format!("define it above with `&{name}`, or quote the text if no alias is meant"))
}

/// Reports keys written twice and resolves merge keys (`<<`): what is written beside them wins.
fn merged(entries: Vec<(Node, Node)>, sink: &Sink) -> Vec<(Node, Node)> {
    let mut kept: Vec<(Node, Node)> = Vec::with_capacity(entries.len());
    let mut merges = Vec::new();
    let mut places = Places::of(&entries);
    for (key, value) in entries {
        let Some(name) = key.scalar() else {
            if !matches!(key.value, Value::Broken) {
                sink.push(Problem::error(key.at, "a key must be a plain word"));
            }
            continue;
        };
        if name == "<<" && matches!(key.value, Value::Scalar { plain: true, .. }) {
            merges.push(value);
        } else if let Some(first) = places.find(&kept, name) {
            let problem = Problem::error(key.at, format!("`{}` is written twice", shortened(name)))
                .label("again here")
                .also(first, "first here")
                .help("keep one of them; everleaf does not guess which was meant");
            sink.push(problem);
        } else {
            places.note(&key);
            kept.push((key, value));
        }
    }
    for merge in merges {
        let at = merge.at;
        let sources = match merge.value {
            Value::List(items) => items,
            value => vec![Node { at, value }],
        };
        for source in sources {
            match source.value {
                Value::Map(entries) => {
                    for (key, value) in entries {
                        if key.scalar().is_some_and(|name| places.find(&kept, name).is_none()) {
                            places.note(&key);
                            kept.push((key, value));
                        }
                    }
                }
                Value::Broken => {}
                _ => sink.push(Problem::error(source.at, "a merge key takes a mapping, or a list of them")),
            }
        }
    }
    kept
}

/// Where the keys of a mapping stand. Nearly all mappings are small, and there looking through them is quicker than hashing.
struct Places(Option<HashMap<String, At>>);

impl Places {
    const SMALL: usize = 16;

    fn of(entries: &[(Node, Node)]) -> Self {
        // A merge may bring any number of keys.
        let grows = entries.iter().any(|(key, _)| key.scalar() == Some("<<"));
        Self((grows || entries.len() > Self::SMALL).then(|| HashMap::with_capacity(entries.len())))
    }

    fn note(&mut self, key: &Node) {
        if let (Some(places), Some(name)) = (&mut self.0, key.scalar()) {
            places.insert(name.to_owned(), key.at);
        }
    }

    fn find(&self, kept: &[(Node, Node)], name: &str) -> Option<At> {
        match &self.0 {
            Some(places) => places.get(name).copied(),
            None => kept.iter().find(|(key, _)| key.scalar() == Some(name)).map(|(key, _)| key.at),
        }
    }
}

/// The keys that lead to a place, such as `certificates[shop].names[1]`. Looked up only when a problem is shown.
pub(super) fn key_path(root: &Node, at: At) -> String {
    let mut path = String::new();
    let mut node = root;
    'down: loop {
        match &node.value {
            Value::Map(entries) => {
                for (key, value) in entries {
                    if inside(key.at, at) || inside(value.at, at) {
                        let name = key.scalar().unwrap_or_default();
                        path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
                        if inside(key.at, at) {
                            return path;
                        }
                        node = value;
                        continue 'down;
                    }
                }
                return path;
            }
            Value::List(items) => {
                let Some((index, item)) = items.iter().enumerate().find(|(_, item)| inside(item.at, at)) else {
                    return path;
                };
                let name = item.child("name").and_then(Node::scalar);
                path = format!("{path}[{}]", name.map_or_else(|| index.to_string(), shortened));
                node = item;
            }
            Value::Scalar { .. } | Value::Broken => return path,
        }
    }
}

fn inside(outer: At, inner: At) -> bool {
    outer.file == inner.file && outer.start <= inner.start && inner.end <= outer.end
}
