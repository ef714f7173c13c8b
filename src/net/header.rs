//! The response headers that are given a meaning: `Retry-After`, `Date`, `Link`. Pure and total: what makes no sense is as
//! good as absent.

use http::{HeaderMap, header};
use std::time::Duration;

/// The longest wait a server can ask for; anything longer is the core's to cap by class, this only keeps sums small.
const LONGEST_WAIT: Duration = Duration::from_secs(365 * 86_400);
/// How many links of one relation are read.
const MAX_LINKS: usize = 4;

/// `Retry-After` in both forms (RFC 9110 §10.2.3). A date counts from the reply's own `Date`, so that a clock that is off
/// changes nothing; `now` (seconds since 1970) stands in where there is none, and without either a date says nothing. A date
/// in the past is no wait. At most a year.
#[must_use]
pub fn retry_after(headers: &HeaderMap, now: Option<i64>) -> Option<Duration> {
    let value = text(headers, &header::RETRY_AFTER)?;
    let seconds = match value.bytes().all(|b| b.is_ascii_digit()) {
        true if value.is_empty() => return None,
        true => value.parse().unwrap_or(u64::MAX),
        false => {
            let until = instant(value)?;
            u64::try_from(until.saturating_sub(date(headers).or(now)?)).unwrap_or(0)
        }
    };
    Some(Duration::from_secs(seconds).min(LONGEST_WAIT))
}

/// The server's clock, in seconds since 1970.
#[must_use]
pub fn date(headers: &HeaderMap) -> Option<i64> {
    instant(text(headers, &header::DATE)?)
}

/// The targets of `Link` headers with this relation (RFC 8288), at most four. They are the server's words: check before use.
#[must_use]
pub fn links(headers: &HeaderMap, relation: &str) -> Vec<String> {
    let mut found = Vec::new();
    for value in headers.get_all(header::LINK).iter().filter_map(|value| value.to_str().ok()) {
        let mut rest = value;
        while let Some((_, after)) = rest.split_once('<') {
            let Some((target, after)) = after.split_once('>') else { break };
            // Parameters run to the comma before the next target.
            let (parameters, next) = after.find(',').map_or((after, ""), |comma| after.split_at(comma));
            let is_it =
                parameters.split(';').filter_map(|parameter| parameter.trim().split_once('=')).any(|(name, value)| {
                    name.trim().eq_ignore_ascii_case("rel")
                        && value.trim().trim_matches('"').split(' ').any(|word| word.eq_ignore_ascii_case(relation))
                });
            if is_it && found.len() < MAX_LINKS {
                found.push(target.to_owned());
            }
            rest = next;
        }
    }
    found
}

fn text<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// A date in any of the forms that a recipient must take (RFC 9110 §5.6.7): an IMF-fixdate such as `Sun, 06 Nov 1994 08:49:37
/// GMT`, and the obsolete `Sunday, 06-Nov-94 08:49:37 GMT` (RFC 850) and `Sun Nov  6 08:49:37 1994` (asctime).
fn instant(text: &str) -> Option<i64> {
    const FORMS: [&str; 3] = ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
    let read = |form: &&str| jiff::civil::DateTime::strptime(form, text).ok();
    let utc = FORMS.iter().find_map(read)?.to_zoned(jiff::tz::TimeZone::UTC);
    // The last day of the year 9999 is beyond what can be counted, and is written all the same.
    Some(utc.map_or(i64::MAX, |utc| utc.timestamp().as_second()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_str(value).expect("a value"));
        }
        headers
    }

    #[test]
    fn retry_after_in_seconds_and_as_a_date() {
        let wait =
            |pairs: &[(&'static str, &str)]| retry_after(&headers(pairs), Some(784_111_777)).map(|span| span.as_secs());
        assert_eq!(wait(&[("retry-after", " 120 ")]), Some(120));
        assert_eq!(wait(&[("retry-after", "Sun, 06 Nov 1994 08:50:37 GMT")]), Some(60), "by our clock");
        let dated = [("retry-after", "Sun, 06 Nov 1994 08:50:37 GMT"), ("date", "Sun, 06 Nov 1994 08:50:07 GMT")];
        assert_eq!(wait(&dated), Some(30), "by the server's clock");
        let end = wait(&[("retry-after", "Fri, 31 Dec 9999 23:59:59 GMT")]);
        assert_eq!(end, Some(LONGEST_WAIT.as_secs()), "the end of time");
        assert_eq!(wait(&[("retry-after", "Sunday, 06-Nov-94 08:50:37 GMT")]), Some(60), "RFC 850");
        assert_eq!(wait(&[("retry-after", "Sun Nov  6 08:50:37 1994")]), Some(60), "asctime");
        assert_eq!(wait(&[("retry-after", "Sun, 06 Nov 1994 08:00:00 GMT")]), Some(0), "past");
        assert_eq!(wait(&[("retry-after", "99999999999999999999999")]), Some(LONGEST_WAIT.as_secs()));
        let without_clock = |pairs: &[(&'static str, &str)]| retry_after(&headers(pairs), None);
        assert_eq!(without_clock(&dated), Some(Duration::from_secs(30)));
        assert_eq!(without_clock(&dated[..1]), None, "there is no clock to hold it against");
        for bad in ["", "soon", "-5", "1.5", "Sun, 99 Nov 1994 08:50:37 GMT"] {
            assert_eq!(wait(&[("retry-after", bad)]), None, "{bad:?}");
        }
    }

    #[test]
    fn links_by_relation() {
        let headers = headers(&[
            ("link", r#"<https://ca.test/dir>;rel="index", <https://ca.test/a,b>; title="x"; rel="help up""#),
            ("link", "<https://ca.test/tos>;rel=terms-of-service"),
            ("link", "<broken"),
        ]);
        assert_eq!(links(&headers, "help"), ["https://ca.test/a,b"]);
        assert_eq!(links(&headers, "terms-of-service"), ["https://ca.test/tos"]);
        assert!(links(&headers, "alternate").is_empty());
    }
}
