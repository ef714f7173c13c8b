//! Hooks and secrets: what everleaf runs, and what it must not show.

use super::problem::Problem;
use super::read::{Fields, Reader};
use super::spec::Hook;
use super::yaml::{Node, Value, shortened};
use crate::types::Secret;
use std::ops::RangeInclusive;
use std::time::Duration;

/// How long a hook may be given.
const HOOK_TIMES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);
const HOOK_FORMS: &str = "write a list, such as [nginx, -t], or a mapping with one of argv, run, shell or unit";
/// What a shell would do something with, and `run:` would not.
const SHELL_CHARACTERS: [char; 14] = ['|', '&', ';', '<', '>', '$', '`', '"', '\'', '*', '?', '(', ')', '\\'];

impl Reader<'_> {
    /// A hook: an argv list, or a mapping.
    pub(super) fn hook(&self, node: &Node, time: Duration) -> Option<Hook> {
        match &node.value {
            Value::List(_) => Some(plain(self.argv(node)?, time)),
            Value::Map(_) => self.hook_mapping(node, time),
            Value::Broken => None,
            Value::Scalar { .. } => {
                let help = match node.scalar() {
                    Some(text) if !text.contains(SHELL_CHARACTERS) => {
                        format!("write [{}]", text.split_whitespace().collect::<Vec<_>>().join(", "))
                    }
                    Some(_) => "write { shell: … } if a shell is meant".to_owned(),
                    None => HOOK_FORMS.to_owned(),
                };
                self.error(node.at, format!("a hook is wanted here, and {} is written", node.described()), help);
                None
            }
        }
    }

    fn hook_mapping(&self, node: &Node, time: Duration) -> Option<Hook> {
        let mut fields = Fields::open(self, node, "a hook")?;
        let (argv, run, shell, unit) =
            (fields.take("argv"), fields.take("run"), fields.take("shell"), fields.take("unit"));
        let timeout = fields.take("timeout").and_then(|node| self.span(node, HOOK_TIMES)).unwrap_or(time);
        let certbot = fields.take("compat").and_then(|node| self.word(node, &[("certbot", true)])).unwrap_or(false);
        let at = fields.at;
        fields.close(self);
        let hook = plain(Vec::new(), timeout);
        // Each is read, whatever else is written: one mistake must not hide the next.
        let forms = [
            argv.map(|node| Some(Hook { argv: self.argv(node)?, ..hook.clone() })),
            run.map(|node| Some(Hook { argv: self.run(node)?, ..hook.clone() })),
            shell.map(|node| {
                let script = self.text(node, "a script for `sh -c`")?.to_owned();
                Some(Hook { argv: vec![script], shell: true, ..hook.clone() })
            }),
            unit.map(|node| Some(Hook { unit: Some(self.unit(node)?), ..hook.clone() })),
        ];
        let mut written = forms.into_iter().flatten();
        let (Some(first), None) = (written.next(), written.next()) else {
            let empty = [argv, run, shell, unit].iter().all(Option::is_none);
            let message = if empty { "this hook runs nothing" } else { "this hook says twice what it runs" };
            self.error(at, message, "write exactly one of argv, run, shell or unit");
            return None;
        };
        first.map(|hook| Hook { certbot, ..hook })
    }

    /// A systemd unit's name.
    pub(super) fn unit(&self, node: &Node) -> Option<String> {
        const MAX_UNIT: usize = 255;
        let text = self.text(node, "a systemd unit")?;
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b':' | b'-' | b'_' | b'.' | b'\\' | b'@');
        if text.len() > MAX_UNIT || text.starts_with('-') || !text.bytes().all(allowed) {
            self.error(
                node.at,
                format!("`{}` is no name of a systemd unit", shortened(text)),
                "write it as systemctl shows it, such as nginx.service",
            );
            return None;
        }
        Some(text.to_owned())
    }

    fn argv(&self, node: &Node) -> Option<Vec<String>> {
        let items = self.list(node, "a list of program and arguments");
        let argv: Vec<String> = items.iter().filter_map(|item| self.argument(item).map(str::to_owned)).collect();
        let Some(first) = items.first() else {
            if matches!(node.value, Value::List(_)) {
                self.error(node.at, "this hook runs nothing", HOOK_FORMS);
            }
            return None;
        };
        if let Some(program) = first.scalar() {
            self.program(first, program)?;
        }
        (argv.len() == items.len()).then_some(argv)
    }

    /// An argument may be empty, as in `--prefix ""`.
    fn argument<'t>(&self, node: &'t Node) -> Option<&'t str> {
        match &node.value {
            Value::Scalar { text, plain: false } if text.is_empty() => Some(""),
            _ => self.text(node, "one argument, a text,"),
        }
    }

    fn run(&self, node: &Node) -> Option<Vec<String>> {
        let text = self.text(node, "a command")?;
        if let Some(character) = text.chars().find(|c| SHELL_CHARACTERS.contains(c)) {
            let help = "use argv: [...] for arguments with spaces or quotes, or shell: for a shell's script";
            self.error(
                node.at,
                format!("`run` goes through no shell, and `{character}` would be taken literally"),
                help,
            );
            return None;
        }
        let argv: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        self.program(node, argv.first()?)?;
        Some(argv)
    }

    fn program(&self, node: &Node, program: &str) -> Option<()> {
        if program.contains('/') {
            self.absolute(node.at, program)?;
        }
        if let Err(trouble) = self.outside.program(program) {
            self.error(node.at, trouble.message, trouble.help);
        }
        Some(())
    }

    /// A secret under `key`, or `KEY_file`: a path, or where else it comes from. With `plain` a text may be written as it is.
    pub(super) fn secret(
        &self,
        fields: &mut Fields<'_>,
        keys: (&'static str, &'static str),
        written: Written,
    ) -> Option<Secret> {
        let (inline, file) = (fields.take(keys.0), fields.take(keys.1));
        if let (Some(inline), Some(_)) = (inline, file) {
            self.error(inline.at, format!("`{}` and `{}` are both written", keys.0, keys.1), "keep one");
            return None;
        }
        if let Some(node) = file {
            return self.secret_in_file(node);
        }
        let node = inline?;
        match &node.value {
            Value::Map(_) => self.secret_elsewhere(node),
            Value::Scalar { text, .. } if written(text) => Some(Secret::new(text.clone())),
            _ => {
                self.sink.mask(node.at);
                let help = format!(
                    "write `{}: /path`, `{}: {{ env: NAME }}` or `{}: {{ credential: NAME }}`",
                    keys.1, keys.0, keys.0
                );
                self.error(node.at, "a secret is not written into the configuration, which others may read", help);
                None
            }
        }
    }

    fn secret_in_file(&self, node: &Node) -> Option<Secret> {
        // What is no path may well be the secret itself.
        if node.scalar().is_some_and(|text| !text.starts_with('/')) {
            self.sink.mask(node.at);
            self.error(
                node.at,
                "the absolute path of a file is wanted here",
                "put the secret into a file with mode 0600, and write its path",
            );
            return None;
        }
        let path = self.path(node)?;
        self.found(node, self.outside.secret_file(&path))
    }

    fn secret_elsewhere(&self, node: &Node) -> Option<Secret> {
        let mut fields = Fields::open(self, node, "a secret's source")?;
        let (file, env, credential) = (fields.take("file"), fields.take("env"), fields.take("credential"));
        let at = fields.at;
        fields.close(self);
        match (file, env, credential) {
            (Some(node), None, None) => self.secret_in_file(node),
            (None, Some(node), None) => {
                let name = self.plain_name(node, "an environment variable's name")?;
                self.found(node, self.outside.secret_env(name))
            }
            (None, None, Some(node)) => {
                let name = self.plain_name(node, "a credential's name")?;
                self.found(node, self.outside.secret_credential(name))
            }
            _ => {
                self.error(at, "a secret has one source", "write one of file, env or credential");
                None
            }
        }
    }

    fn plain_name<'t>(&self, node: &'t Node, wanted: &str) -> Option<&'t str> {
        let text = self.text(node, wanted)?;
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        if text.starts_with('.') || !text.bytes().all(allowed) {
            self.error(node.at, format!("`{}` is not {wanted}", shortened(text)), "use letters, digits and _");
            return None;
        }
        Some(text)
    }

    fn found(&self, node: &Node, secret: Result<String, super::outside::Trouble>) -> Option<Secret> {
        match secret {
            Ok(text) => Some(Secret::new(text)),
            Err(trouble) => {
                self.sink.push(Problem::error(node.at, trouble.message).help(trouble.help));
                None
            }
        }
    }
}

/// Which texts may stand in the configuration itself.
pub(super) type Written = fn(&str) -> bool;

fn plain(argv: Vec<String>, timeout: Duration) -> Hook {
    Hook { argv, shell: false, timeout, certbot: false, unit: None }
}
