//! `why NAME`: what stands, what is next and why, what stands in the way, what to type.

use super::page::{Page, Paint, ago, clock, columns, in_time};
use super::status::{CertificateStatus, EndpointStatus, GenerationStatus, MilestoneStatus, NodeStatus};
use super::summary::failure_lines;
use super::table::{painted, state};
use crate::core::outcome::Stage;
use crate::ports::Shown;
use crate::types::Timestamp;

/// The story of one certificate.
#[must_use]
pub fn story(certificate: &CertificateStatus, now: Timestamp, width: usize, paint: Paint) -> String {
    let mut page = Page::new(width, paint);
    let state = state(certificate);
    page.line(&format!("{}: {}", paint.head(&certificate.name.to_string()), painted(paint, certificate, &state)));
    let names: Vec<String> = certificate.names.iter().map(ToString::to_string).collect();
    page.hang("  ", &names.join(", "));
    stands(&mut page, certificate, now);
    next(&mut page, certificate, now);
    in_the_way(&mut page, certificate);
    to_type(&mut page, certificate, now);
    page.gap();
    let looked = format!("as of {} ({})", clock(certificate.looked), ago(certificate.looked, now));
    page.line(&paint.faint(&looked));
    page.finish()
}

fn heading(page: &mut Page, text: &str) {
    page.gap();
    page.line(&page.paint.head(text));
}

fn stands(page: &mut Page, certificate: &CertificateStatus, now: Timestamp) {
    heading(page, "What stands");
    match &certificate.generation {
        None => page.line("  nothing was ever issued"),
        Some(generation) => issued(page, generation, now),
    }
    if let Some(issuer) = &certificate.issuer {
        page.line(&format!("  issuer      {issuer}"));
    }
    let proof = if certificate.unproven { "published and reloaded (nothing proves more)" } else { "served everywhere" };
    if let Some(at) = certificate.last_success {
        page.hang("  ", &format!("last {proof} {} ({})", ago(at, now), clock(at)));
    } else if certificate.generation.is_some() {
        page.hang("  ", &format!("was never {proof}"));
    }
    nodes(page, certificate, now);
    endpoints(page, certificate, now);
}

fn issued(page: &mut Page, generation: &GenerationStatus, now: Timestamp) {
    page.line(&format!("  generation  {}", generation.id));
    page.line(&format!("  serial      {}", generation.serial));
    page.line(&format!("  signed by   {}", generation.issued_by));
    let (start, end) = (generation.validity.start, generation.validity.end);
    let left = if end <= now { format!("ended {}", ago(end, now)) } else { format!("ends {}", in_time(end, now)) };
    page.line(&format!("  valid       {} … {} ({left})", clock(start), clock(end)));
    for note in &generation.notes {
        page.hang("  note        ", note.as_str());
    }
}

fn nodes(page: &mut Page, certificate: &CertificateStatus, now: Timestamp) {
    if certificate.nodes.is_empty() {
        return;
    }
    let wide = certificate.nodes.iter().map(|node| columns(node.node.as_str())).max().unwrap_or(0).clamp(4, 20);
    page.gap();
    let head = format!("  {:<wide$}  {:<13}  {:<14}  {}", "NODE", "PUBLISHED", "RELOADED", "SERVED");
    page.line(&page.paint.head(&head));
    for node in &certificate.nodes {
        let published = node.deployed.as_ref().map_or_else(|| absent(node), |at| at.generation.to_string());
        let reloaded = node.reloaded.as_ref().map_or_else(|| "never".to_owned(), |at| ago(at.at, now));
        let served = if certificate.unproven { "not asked for".to_owned() } else { proven(node, now) };
        page.line(&format!("  {:<wide$}  {published:<13}  {reloaded:<14}  {served}", node.node));
    }
}

fn absent(node: &NodeStatus) -> String {
    if node.placeholder { "placeholder".to_owned() } else { "nothing".to_owned() }
}

fn proven(node: &NodeStatus, now: Timestamp) -> String {
    let current = |at: &&MilestoneStatus| node.wanted.as_ref().is_some_and(|wanted| at.epoch >= wanted.epoch);
    match node.confirmed.as_ref().filter(current) {
        Some(at) if node.failure.is_none() => format!("proven {}", ago(at.at, now)),
        Some(at) => format!("proven {}, not any more", ago(at.at, now)),
        None => "not proven".to_owned(),
    }
}

fn endpoints(page: &mut Page, certificate: &CertificateStatus, now: Timestamp) {
    if certificate.endpoints.is_empty() {
        return;
    }
    page.gap();
    for endpoint in &certificate.endpoints {
        let when = endpoint.at.map_or_else(String::new, |at| format!(" ({})", ago(at, now)));
        let behind = endpoint.node.as_ref().map_or_else(String::new, |node| format!("{node}: "));
        let saw = shown(endpoint);
        let mark = match &endpoint.shown {
            _ if endpoint.live() => "  ok  ",
            Some(Shown::NotLooked { .. }) => "  ??  ",
            _ => "  !!  ",
        };
        let place = place(endpoint);
        page.hang(mark, &format!("{behind}{place} {saw}{when}"));
        for note in &endpoint.notes {
            page.hang("        note: ", note.as_str());
        }
    }
}

/// The endpoint as configured, and the address where that is a host.
fn place(endpoint: &EndpointStatus) -> String {
    match endpoint.address {
        Some(address) if !endpoint.endpoint.as_str().starts_with(&address.to_string()) => {
            format!("{} at {address}", endpoint.endpoint)
        }
        _ => endpoint.endpoint.to_string(),
    }
}

/// What an endpoint showed, in words.
pub(super) fn shown(endpoint: &EndpointStatus) -> String {
    match &endpoint.shown {
        None => "was not looked at yet".to_owned(),
        Some(Shown::Wanted) if endpoint.current => "serves it".to_owned(),
        Some(Shown::Wanted) => "served the one before when last looked at".to_owned(),
        Some(Shown::Other { serial, not_after, .. }) => {
            format!("serves serial {serial}, which ends {}", clock(*not_after))
        }
        Some(Shown::BrokenChain { message }) => format!("serves it with a broken chain: {message}"),
        Some(Shown::HandshakeFailed { failure }) => format!("fails its handshake: {}", failure.message),
        Some(Shown::Unreachable { failure }) => format!("cannot be reached: {}", failure.message),
        Some(Shown::NotLooked { failure }) => format!("was not seen, so nothing is known: {}", failure.message),
    }
}

fn next(page: &mut Page, certificate: &CertificateStatus, now: Timestamp) {
    heading(page, "What is next");
    let mut said = false;
    if let Some(order) = &certificate.order {
        let since = ago(order.since, now);
        page.hang(
            "  ",
            &format!("order {} is {} since {}", order.attempt, order.phase, since.trim_end_matches(" ago")),
        );
        said = true;
    }
    if let Some(next) = certificate.next.as_ref().filter(|next| Some(*next) != certificate.renewal.as_ref()) {
        let verb = if next.held { "tried again" } else { "looked at again" };
        page.hang("  ", &format!("{verb} {} ({}): {}", in_time(next.at, now), clock(next.at), next.why));
        said = true;
    }
    if let Some(renewal) = &certificate.renewal {
        page.hang("  ", &format!("renewed {} ({}): {}", in_time(renewal.at, now), clock(renewal.at), renewal.why));
        said = true;
    }
    if let Some(explanation) = &certificate.ari_explanation {
        page.hang("  the CA explains: ", explanation.as_str());
    }
    if !said {
        page.line("  nothing is planned");
    }
}

fn in_the_way(page: &mut Page, certificate: &CertificateStatus) {
    if certificate.troubles.is_empty() {
        return;
    }
    heading(page, "What stands in the way");
    for failure in &certificate.troubles {
        failure_lines(page, "  ", failure, true);
    }
}

/// The command that orders, where one would. What the other side asked for is waited out by everybody.
fn renewing(certificate: &CertificateStatus, now: Timestamp) -> Option<(String, String)> {
    let name = &certificate.name;
    let held = certificate.hold.as_ref().filter(|held| held.at > now);
    if held.is_some_and(|held| held.forceable) {
        return Some((format!("everleaf renew {name} --force"), "order past the automatic budget".to_owned()));
    }
    let firm = held.and_then(|held| held.firm).is_some_and(|until| until > now);
    let missing = certificate.generation.is_none() || certificate.failures > 0;
    (missing && !firm).then(|| (format!("everleaf renew {name}"), "try again now".to_owned()))
}

fn to_type(page: &mut Page, certificate: &CertificateStatus, now: Timestamp) {
    let name = &certificate.name;
    let mut commands: Vec<(String, String)> = Vec::new();
    let behind: Vec<&NodeStatus> =
        certificate.nodes.iter().filter(|node| !node.settled(!certificate.unproven)).collect();
    if certificate.stage == Stage::Retired {
        commands.push((format!("everleaf forget {name}"), "remove what is left of it".to_owned()));
    } else {
        if certificate.generation.is_some() {
            for node in behind.iter().take(3) {
                commands.push((
                    format!("everleaf deploy {name} --to {}", node.node),
                    "publish, reload and prove again".to_owned(),
                ));
            }
        }
        commands.extend(renewing(certificate, now));
        if let Some(earlier) = certificate.earlier.last().filter(|_| !behind.is_empty()) {
            commands.push((format!("everleaf rollback {name}"), format!("go back to {earlier}")));
        }
    }
    if commands.is_empty() {
        return;
    }
    heading(page, "What to type");
    let wide = commands.iter().map(|(command, _)| columns(command)).max().unwrap_or(0);
    for (command, does) in commands {
        page.hang(&format!("  {command:<wide$}  "), &does);
    }
}

#[cfg(test)]
mod tests {
    use super::super::status::{NextStatus, samples};
    use super::*;

    const PLAIN: Paint = Paint { colour: false };

    #[test]
    fn the_story_of_one_that_lags() {
        let text = story(&samples::lagging(), samples::now(), 80, PLAIN);
        let expected = "\
api: confirming
  api.example.com

What stands
  generation  GENERATION
  serial      04ab12
  signed by   CN=Pebble Intermediate
  valid       2026-11-12 10:00 UTC … 2027-02-10 10:00 UTC (ends in 80d)
  issuer      le
  last served everywhere 5m ago (2026-11-22 09:55 UTC)

  NODE   PUBLISHED      RELOADED        SERVED
  edge1  GENERATION  5m ago          proven 5m ago
  edge2  GENERATION  5m ago          not proven

  ok  edge1: 10.0.0.1:443 (api.example.com) serves it (5m ago)
  !!  edge2: 10.0.0.2:443 (api.example.com) serves serial 00ab34, which ends
      2026-11-25 10:00 UTC (5m ago)

What is next
  tried again in 10m (2026-11-22 10:10 UTC): edge2 was reloaded and still does
  not serve it
  renewed in 50d (2027-01-11 10:00 UTC): drawn from the CA's window

What stands in the way
  10.0.0.2:443 (api.example.com): still serves serial 00ab34, not 04ab12
    do: look at the reload command of edge2
    code serve:other

What to type
  everleaf deploy api --to edge2  publish, reload and prove again
  everleaf rollback api           go back to EARLIER

as of 2026-11-22 09:55 UTC (5m ago)
";
        let api = samples::lagging();
        let generation = api.generation.expect("a generation").id.to_string();
        let expected = expected.replace("GENERATION", &generation).replace("EARLIER", &api.earlier[0].to_string());
        assert_eq!(text, expected);
    }

    #[test]
    fn one_that_is_well_asks_for_nothing() {
        let text = story(&samples::live("shop"), samples::now(), 80, PLAIN);
        assert!(!text.contains("What to type") && !text.contains("in the way") && !text.contains("!!"), "{text}");
    }

    #[test]
    fn nobody_is_told_to_try_again_while_the_ca_wants_to_be_left_alone() {
        let mut shop = samples::live("shop");
        shop.failures = 1;
        let (at, why) = (samples::now() + std::time::Duration::from_secs(3_600), "issuing failed".into());
        let held = NextStatus { at, held: true, why, firm: None, forceable: false };
        let typed = |held: NextStatus| {
            let story = story(&CertificateStatus { hold: Some(held), ..shop.clone() }, samples::now(), 80, PLAIN);
            story.lines().find(|line| line.contains("everleaf renew")).map(str::to_owned)
        };
        let again = Some("  everleaf renew shop  try again now".to_owned());
        assert_eq!(typed(held.clone()), again);
        assert_eq!(typed(NextStatus { firm: Some(at), ..held.clone() }), None);
        assert_eq!(typed(NextStatus { firm: Some(samples::now()), ..held.clone() }), again, "that is over");
        let past = Some("  everleaf renew shop --force  order past the automatic budget".to_owned());
        assert_eq!(typed(NextStatus { forceable: true, ..held }), past);
    }

    #[test]
    fn a_glance_at_an_older_generation_is_not_shown_as_proof() {
        let mut shop = samples::live("shop");
        shop.endpoints[0].current = false;
        let text = story(&shop, samples::now(), 80, PLAIN);
        assert!(text.contains("served the one before"), "{text}");
    }
}
