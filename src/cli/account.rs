//! `account show`, `account register`.

use super::Stop;
use super::context::{Context, unknown};
use crate::report::OPERATOR;
use crate::types::{IssuerName, Printable};
use crate::wire::block_on;
use serde::Serialize;

/// The accounts. Schema `everleaf.account/1`.
#[derive(Debug, Serialize)]
struct Document {
    schema: &'static str,
    accounts: Vec<Shown>,
}

#[derive(Debug, Serialize)]
struct Shown {
    issuer: IssuerName,
    directory: String,
    url: Option<Printable>,
    thumbprint: Option<String>,
}

pub(super) fn show(context: &Context, only: Option<&IssuerName>, register: bool) -> Result<u8, Stop> {
    let app = context.open()?;
    let issuers = &app.spec().issuers;
    if let Some(only) = only.filter(|only| !issuers.contains_key(*only)) {
        let all: Vec<&IssuerName> = issuers.keys().collect();
        return Err(Stop::Usage(unknown("issuer", only.as_str(), &all)));
    }
    let mut accounts = Vec::new();
    for (name, issuer) in issuers.iter().filter(|(name, _)| only.is_none_or(|only| only == *name)) {
        let found = block_on(app.account(name, register))?;
        let (url, thumbprint) = found.map(|it| (Printable::new(&it.url), it.thumbprint)).unzip();
        accounts.push(Shown { issuer: name.clone(), directory: issuer.directory.clone(), url, thumbprint });
    }
    let missing = accounts.iter().any(|account| account.url.is_none());
    if context.screen.json {
        context.screen.json(&Document { schema: "everleaf.account/1", accounts })?;
    } else {
        context.screen.data(&accounts.iter().map(text).collect::<String>())?;
    }
    Ok(if missing { OPERATOR } else { 0 })
}

fn text(account: &Shown) -> String {
    let Shown { issuer, directory, url, thumbprint } = account;
    let known = url.as_ref().zip(thumbprint.as_ref()).map_or_else(
        || format!("no account yet: the first order registers it, or `everleaf account register {issuer}`"),
        |(url, thumbprint)| format!("account     {url}\n  thumbprint  {thumbprint}"),
    );
    format!("{issuer}\n  directory   {directory}\n  {known}\n")
}
