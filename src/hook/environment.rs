//! What a hook is told: environment and JSON event.

use super::SCHEMA;
use crate::ports::HookContext;
use crate::types::{Class, Failure};
use serde_json::{Map, Value};
use std::ffi::OsString;
use std::path::Path;

/// Where hooks' programs are looked up, whatever everleaf itself was started with.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The published files and the variables that name them.
const FILES: [(&str, &str); 5] = [
    ("EVERLEAF_FULLCHAIN", "fullchain.pem"),
    ("EVERLEAF_PRIVKEY", "privkey.pem"),
    ("EVERLEAF_CERT", "cert.pem"),
    ("EVERLEAF_CHAIN", "chain.pem"),
    ("EVERLEAF_BUNDLE", "bundle.pem"),
];

pub(super) type Variables = Vec<(String, OsString)>;

/// The search path of hooks.
pub(super) fn path() -> OsString {
    OsString::from(PATH)
}

/// What every hook gets.
pub(super) fn base() -> Variables {
    vec![("PATH".to_owned(), path()), ("LANG".to_owned(), OsString::from("C.UTF-8"))]
}

/// `EVERLEAF_*`: only what is known is set.
pub(super) fn of_event(event: &str, contexts: &[HookContext]) -> Variables {
    let mut variables = vec![("EVERLEAF_EVENT".to_owned(), OsString::from(event))];
    if let Some(first) = contexts.first() {
        variables.extend(of_context(first));
    }
    if contexts.len() > 1 {
        let names: Vec<_> = contexts.iter().map(|context| context.name.as_str()).collect();
        variables.push(("EVERLEAF_NAMES".to_owned(), names.join(" ").into()));
    }
    variables
}

fn of_context(context: &HookContext) -> Variables {
    let text = |value: &dyn ToString| Some(OsString::from(value.to_string()));
    let known: [(&str, Option<OsString>); 12] = [
        ("EVERLEAF_NAME", text(&context.name)),
        ("EVERLEAF_DOMAINS", Some(domains(context))),
        ("EVERLEAF_NODE", context.node.as_ref().and_then(|v| text(v))),
        ("EVERLEAF_GENERATION", context.generation.as_ref().and_then(|v| text(v))),
        ("EVERLEAF_EPOCH", context.epoch.as_ref().and_then(|v| text(v))),
        ("EVERLEAF_LIVE_DIR", Some(context.live_dir.clone().into_os_string())),
        ("EVERLEAF_SERIAL", context.serial.as_ref().and_then(|v| text(v))),
        ("EVERLEAF_NOT_AFTER", context.not_after.as_ref().and_then(|v| text(v))),
        ("EVERLEAF_PREV_SERIAL", context.prev_serial.as_ref().and_then(|v| text(v))),
        ("EVERLEAF_REASON", (!context.reason.is_empty()).then(|| context.reason.to_string().into())),
        ("EVERLEAF_DRY_RUN", context.dry_run.then(|| OsString::from("1"))),
        ("EVERLEAF_ATTEMPT", (context.attempt > 0).then(|| context.attempt.to_string().into())),
    ];
    let mut variables: Variables =
        known.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    variables.extend(files(context).into_iter().map(|(name, path)| (name.to_owned(), path)));
    variables
}

/// The files that are there.
fn files(context: &HookContext) -> Vec<(&'static str, OsString)> {
    let Some(dir) = context.files.as_deref() else { return Vec::new() };
    let present = |file: &str| Some(dir.join(file)).filter(|path: &std::path::PathBuf| path.exists());
    FILES.iter().filter_map(|(name, file)| Some((*name, present(file)?.into_os_string()))).collect()
}

fn domains(context: &HookContext) -> OsString {
    context.domains.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ").into()
}

/// What certbot sets for a deploy hook.
pub(super) fn as_certbot(context: Option<&HookContext>) -> Variables {
    let home = nix::unistd::User::from_uid(nix::unistd::Uid::effective()).ok().flatten().map(|user| user.dir);
    let home = home.unwrap_or_else(|| Path::new("/").to_path_buf());
    let mut variables = vec![("HOME".to_owned(), home.into_os_string())];
    if let Some(context) = context {
        variables.push(("RENEWED_LINEAGE".to_owned(), context.live_dir.clone().into_os_string()));
        variables.push(("RENEWED_DOMAINS".to_owned(), domains(context)));
    }
    variables
}

/// The JSON event (`everleaf.hook/1`): the first context's fields at the top, all of them under `certificates`.
pub(super) fn document(event: &str, contexts: &[HookContext], place: &str) -> Result<Map<String, Value>, Failure> {
    let mut document = Map::new();
    document.insert("schema".to_owned(), SCHEMA.into());
    document.insert("event".to_owned(), event.into());
    let mut certificates = Vec::with_capacity(contexts.len());
    for context in contexts {
        let value = serde_json::to_value(context).map_err(|error| {
            Failure::new(Class::Spec, "hook:context", place, format!("its JSON event cannot be written: {error}"))
        })?;
        certificates.push(value);
    }
    if let Some(Value::Object(first)) = certificates.first() {
        document.extend(first.clone());
    }
    if !certificates.is_empty() {
        document.insert("certificates".to_owned(), Value::Array(certificates));
    }
    Ok(document)
}
