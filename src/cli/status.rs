//! `status`, `why`, `plan`: looking without changing.

use super::Stop;
use super::context::{Context, known};
use crate::report::{self, CertificateStatus, PlannedCertificate, Snapshot};
use crate::types::{Class, Failure};
use crate::wire::now;
use serde::Serialize;

pub(super) fn status(context: &Context, typed: &[String]) -> Result<u8, Stop> {
    let mut snapshot = there(context)?;
    let names = known(typed, snapshot.certificates.iter().map(|it| &it.name))?;
    let screen = context.screen;
    if screen.json {
        snapshot.certificates.retain(|it| names.is_empty() || names.contains(&it.name));
        screen.json(&snapshot)?;
    } else {
        screen.data(&report::table(&snapshot, &names, now(), screen.width, screen.paint, screen.volume > 0))?;
    }
    Ok(0)
}

/// One certificate. Schema `everleaf.why/1`.
#[derive(Debug, Serialize)]
struct Told<'a> {
    schema: &'static str,
    #[serde(flatten)]
    certificate: &'a CertificateStatus,
}

pub(super) fn why(context: &Context, typed: &str) -> Result<u8, Stop> {
    let snapshot = there(context)?;
    let names = known(&[typed.to_owned()], snapshot.certificates.iter().map(|it| &it.name))?;
    let screen = context.screen;
    for certificate in names.iter().filter_map(|name| snapshot.certificate(name)) {
        if screen.json {
            screen.json(&Told { schema: "everleaf.why/1", certificate })?;
        } else {
            screen.data(&report::story(certificate, now(), screen.width, screen.paint))?;
        }
    }
    Ok(0)
}

/// What a run would do. Schema `everleaf.plan/1`.
#[derive(Debug, Serialize)]
struct Plans<'a> {
    schema: &'static str,
    certificates: &'a [PlannedCertificate],
}

pub(super) fn plan(context: &Context, typed: &[String]) -> Result<u8, Stop> {
    let app = context.open()?;
    let names = known(typed, app.spec().certificates.keys())?;
    let plans = app.plan(&names)?;
    let screen = context.screen;
    if screen.json {
        screen.json(&Plans { schema: "everleaf.plan/1", certificates: &plans })?;
    } else {
        screen.data(&report::steps(&plans, now(), screen.width, screen.paint))?;
    }
    Ok(0)
}

/// The status file, which only a pass writes.
fn there(context: &Context) -> Result<Snapshot, Stop> {
    context.snapshot()?.ok_or_else(|| {
        let place = context.whereabouts().run;
        let message = "there is no status file: nothing has run since boot";
        Failure::new(Class::Retry, "status:absent", place.to_string_lossy(), message)
            .advise("`everleaf run` writes it; `everleaf config check` says whether it can")
            .into()
    })
}
