//! The Prometheus textfile (node exporter's textfile collector).

use super::status::{CertificateStatus, EndpointStatus, Snapshot};
use crate::ports::Shown;
use crate::types::{Class, Failure, Timestamp, Window};
use prometheus::{GaugeVec, Opts, Registry, TextEncoder};

/// The metrics of a snapshot, in the text exposition format.
///
/// # Errors
/// Class `Retry`, code `internal`, when the library refuses a metric: a defect.
pub fn metrics(snapshot: &Snapshot) -> Result<String, Failure> {
    render(snapshot).map_err(|error| Failure::new(Class::Retry, "internal", "metrics", error.to_string()))
}

fn render(snapshot: &Snapshot) -> Result<String, prometheus::Error> {
    let registry = Registry::new();
    let gauge = |name: &str, help: &str, labels: &[&str]| -> Result<GaugeVec, prometheus::Error> {
        let family = GaugeVec::new(Opts::new(format!("everleaf_{name}"), help), labels)?;
        registry.register(Box::new(family.clone()))?;
        Ok(family)
    };
    gauge("build_info", "The version that wrote this file.", &["version"])?
        .with_label_values(&[snapshot.version.as_str()])
        .set(1.0);
    let run = gauge("run_timestamp_seconds", "When the last run that came to its end ended.", &[])?;
    let interval = gauge("run_interval_seconds", "How often runs are expected.", &[])?;
    let exit = gauge("run_exit_code", "The exit code of the last run.", &[])?;
    if let Some(last) = &snapshot.run {
        run.with_label_values::<&str>(&[]).set(seconds(last.ended));
        interval.with_label_values::<&str>(&[]).set(Span(last.interval).as_f64());
        exit.with_label_values::<&str>(&[]).set(f64::from(last.exit));
    }
    certificates(snapshot, &gauge)?;
    endpoints(snapshot, &gauge)?;
    TextEncoder::new().encode_to_string(&registry.gather())
}

type Make<'a> = dyn Fn(&str, &str, &[&str]) -> Result<GaugeVec, prometheus::Error> + 'a;

/// Reads one value of a certificate.
type Read = fn(&CertificateStatus) -> Option<f64>;

fn certificates(snapshot: &Snapshot, gauge: &Make<'_>) -> Result<(), prometheus::Error> {
    let of = |what: &str, help: &str| gauge(&format!("certificate_{what}"), help, &["name"]);
    let families: [(&str, &str, Read); 8] = [
        (
            "not_before_timestamp_seconds",
            "When the certificate that ends first of those wanted or served began.",
            |it| it.served.map(|validity| seconds(validity.start)),
        ),
        ("not_after_timestamp_seconds", "When the certificate that ends first of those wanted or served ends.", |it| {
            it.served.map(|validity| seconds(validity.end))
        }),
        ("renewal_timestamp_seconds", "When it is renewed if nothing happens before.", |it| {
            it.renewal.as_ref().map(|renewal| seconds(renewal.at))
        }),
        ("ari_window_start_timestamp_seconds", "When the CA's suggested renewal window begins.", |it| {
            it.ari_window.map(|window: Window| seconds(window.start))
        }),
        ("ari_window_end_timestamp_seconds", "When the CA's suggested renewal window ends.", |it| {
            it.ari_window.map(|window: Window| seconds(window.end))
        }),
        ("last_success_timestamp_seconds", "When everything was last as it should be.", |it| {
            it.last_success.map(seconds)
        }),
        ("consecutive_failures", "How often in a row issuing failed.", |it| Some(f64::from(it.failures))),
        ("exit_code", "What the certificate adds to a run's exit code; 0 is well.", |it| Some(f64::from(it.exit))),
    ];
    for (what, help, read) in families {
        let family = of(what, help)?;
        for certificate in &snapshot.certificates {
            if let Some(value) = read(certificate) {
                family.with_label_values(&[certificate.name.as_str()]).set(value);
            }
        }
    }
    let stage = gauge("certificate_stage", "Where the certificate stands: 1 for its stage.", &["name", "stage"])?;
    for certificate in &snapshot.certificates {
        let word = serde_json::to_value(certificate.stage).ok();
        let word = word.as_ref().and_then(serde_json::Value::as_str).unwrap_or("unknown");
        stage.with_label_values(&[certificate.name.as_str(), word]).set(1.0);
    }
    Ok(())
}

fn endpoints(snapshot: &Snapshot, gauge: &Make<'_>) -> Result<(), prometheus::Error> {
    let labels = ["name", "endpoint", "address"];
    let live = gauge("endpoint_live", "Whether the address was last seen serving what is wanted.", &labels)?;
    let ends = gauge("endpoint_not_after_timestamp_seconds", "When the certificate seen there ends.", &labels)?;
    let probed = gauge("endpoint_probe_timestamp_seconds", "When the address was last looked at.", &labels)?;
    for certificate in &snapshot.certificates {
        // Where nobody could look, there is nothing to say.
        let seen = |it: &&EndpointStatus| !matches!(it.shown, Some(Shown::NotLooked { .. }));
        for endpoint in certificate.endpoints.iter().filter(seen) {
            let address = endpoint.address.map_or_else(String::new, |address| address.to_string());
            let values = [certificate.name.as_str(), endpoint.endpoint.as_str(), &address];
            live.with_label_values(&values).set(f64::from(u8::from(endpoint.live())));
            if let Some(end) = not_after(certificate, endpoint) {
                ends.with_label_values(&values).set(seconds(end));
            }
            if let Some(at) = endpoint.at {
                probed.with_label_values(&values).set(seconds(at));
            }
        }
    }
    Ok(())
}

fn not_after(certificate: &CertificateStatus, endpoint: &EndpointStatus) -> Option<Timestamp> {
    match endpoint.shown.as_ref()? {
        Shown::Wanted | Shown::BrokenChain { .. } if endpoint.current => {
            Some(certificate.generation.as_ref()?.validity.end)
        }
        Shown::Other { not_after, .. } => Some(*not_after),
        _ => None,
    }
}

fn seconds(at: Timestamp) -> f64 {
    // Exact in a double until the year 287396.
    Span(u64::try_from(at.as_secs()).unwrap_or(0)).as_f64()
}

struct Span(u64);

impl Span {
    /// Seconds as a double, exact below 2^53.
    fn as_f64(&self) -> f64 {
        let (high, low) = (self.0 >> 32, self.0 & u64::from(u32::MAX));
        let part = |bits: u64| u32::try_from(bits).map_or(0.0, f64::from);
        part(high) * 4_294_967_296.0 + part(low)
    }
}

#[cfg(test)]
mod tests {
    use super::super::status::samples;
    use super::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    #[test]
    fn promtool_has_nothing_to_say() {
        let text = metrics(&samples::snapshot()).expect("metrics");
        let mut promtool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("promtool is installed");
        promtool.stdin.take().expect("piped").write_all(text.as_bytes()).expect("written");
        let output = promtool.wait_with_output().expect("ended");
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && said.is_empty(), "{said}\n{text}");
    }

    #[test]
    fn values_are_those_of_the_snapshot() {
        let text = metrics(&samples::snapshot()).expect("metrics");
        for line in [
            "everleaf_certificate_not_after_timestamp_seconds{name=\"shop\"} 1802253600",
            "everleaf_certificate_stage{name=\"api\",stage=\"confirming\"} 1",
            "everleaf_run_exit_code 20",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} not in\n{text}");
        }
        let lagging = text.lines().find(|line| {
            line.starts_with("everleaf_endpoint_live") && line.contains("10.0.0.2") && line.contains("api")
        });
        assert!(lagging.is_some_and(|line| line.ends_with(" 0")), "{text}");
    }
}
