//! Looking up names: addresses, a zone's authoritative servers, and TXT records as one given server tells them.

use crate::types::{Class, Failure};
use futures_util::future::join_all;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

/// For one question to one server: twice this still leaves a propagation wait of two minutes many rounds.
const QUESTION: Duration = Duration::from_secs(3);
/// How often a question is asked again after silence: a datagram may be lost.
const ATTEMPTS: usize = 1;
/// The addresses kept of one host: more than any real round-robin set.
const MAX_ADDRESSES: usize = 64;
/// The name servers followed of one zone: the root itself has thirteen.
const MAX_NAME_SERVERS: usize = 16;
/// The TXT values kept of one name: dns-01 needs two, and a hostile zone may hold thousands.
const MAX_TXT: usize = 256;
/// Where DNS is served.
const DNS_PORT: u16 = 53;

/// Asks the configured resolvers, or the system's.
pub struct Resolver {
    /// Answers questions about the whole tree.
    recursive: TokioResolver,
    /// The configured resolvers; empty when the system's are used.
    configured: Vec<SocketAddr>,
}

impl Resolver {
    /// A resolver that asks `servers`, or those of `/etc/resolv.conf` when there are none. Touches no network.
    ///
    /// # Errors
    /// `dns:config` when the system's configuration cannot be read.
    pub fn new(servers: &[SocketAddr]) -> Result<Self, Failure> {
        let recursive = if servers.is_empty() {
            let mut builder =
                TokioResolver::builder_tokio().map_err(|error| bad_config("/etc/resolv.conf", &error.to_string()))?;
            bound(builder.options_mut());
            builder.build().map_err(|error| bad_config("/etc/resolv.conf", &error.to_string()))?
        } else {
            let mut options = ResolverOpts::default();
            bound(&mut options);
            asking(servers, options)?
        };
        Ok(Self { recursive, configured: servers.to_vec() })
    }

    /// The servers that are asked, for people.
    #[must_use]
    pub fn asked(&self) -> String {
        if !self.configured.is_empty() {
            return self.configured.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        }
        let servers = |(config, _): (ResolverConfig, ResolverOpts)| {
            config.name_servers().iter().map(|server| server.ip.to_string()).collect::<Vec<_>>().join(", ")
        };
        read_system_conf().map_or_else(|_| "/etc/resolv.conf".to_owned(), servers)
    }

    /// Every A and AAAA of `host`, IPv4 first, at most 64. An address is its own answer; `/etc/hosts` is honoured.
    ///
    /// # Errors
    /// `dns:nxdomain` when there is no such name, `dns:noAddress` when it has no address, `dns:servfail`, `dns:refused`,
    /// `dns:timeout`, `dns:unreachable`.
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, Failure> {
        if let Ok(address) = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            return Ok(vec![address]);
        }
        match self.recursive.lookup_ip(absolute(host)?).await {
            Ok(found) => {
                let mut addresses: Vec<IpAddr> = found.iter().take(MAX_ADDRESSES).collect();
                addresses.sort_by_key(|address| (address.is_ipv6(), *address));
                addresses.dedup();
                Ok(addresses)
            }
            Err(error) if error.is_no_records_found() && !error.is_nx_domain() => Err(Failure::new(
                Class::Operator,
                "dns:noAddress",
                host,
                "the name has neither an A nor an AAAA record",
            )
            .advise("Publish an address for it, or correct the name.")),
            Err(error) => Err(failure(host, &error)),
        }
    }

    /// The authoritative servers of the zone that `name` lies in: each NS with each address this machine has a route to.
    ///
    /// The zone is found by its SOA, from the name upwards; a CNAME is for the caller to follow with
    /// [`Self::cname_target`]. Where a zone has no SOA or NS to follow and resolvers are configured, these are the set.
    ///
    /// # Errors
    /// `dns:noZone` when no zone or none of its servers is found; else as [`Self::addresses`].
    pub async fn authoritative(&self, name: &str) -> Result<Vec<(String, SocketAddr)>, Failure> {
        let servers = match self.zone(&absolute(name)?).await? {
            Some(zone) => self.servers_of(&zone).await?,
            None => Vec::new(),
        };
        if !servers.is_empty() {
            return Ok(servers);
        }
        if !self.configured.is_empty() {
            return Ok(self.configured.iter().map(|server| (server.to_string(), *server)).collect());
        }
        Err(Failure::new(Class::Operator, "dns:noZone", name, "no name server of its zone could be found").advise(
            "Check that the domain is registered and delegated, or name the servers to ask under `resolvers:`.",
        ))
    }

    /// Where a CNAME at exactly `name` points to, without the trailing dot; `None` when there is no CNAME.
    ///
    /// # Errors
    /// As [`Self::addresses`]; a name that does not exist has no CNAME and is no error.
    pub async fn cname_target(&self, name: &str) -> Result<Option<String>, Failure> {
        let asked = absolute(name)?;
        let found = self.records(&asked, RecordType::CNAME).await.map_err(|error| failure(name, &error))?;
        Ok(found.and_then(|found| {
            found.answers().iter().find_map(|record| match &record.data {
                RData::CNAME(target) if record.name == asked => Some(relative(target)),
                _ => None,
            })
        }))
    }

    /// The TXT values of `name` as `server` tells them, never from a cache. No such name or no such record: none.
    ///
    /// # Errors
    /// `dns:servfail`, `dns:refused`, `dns:timeout`, `dns:unreachable`.
    pub async fn txt_at(&self, server: SocketAddr, name: &str) -> Result<Vec<String>, Failure> {
        let place = format!("{name} at {server}");
        let asked = absolute(name)?;
        // A configured resolver must recurse to answer; an authoritative server may refuse a question that asks for it.
        let mut options = ResolverOpts::default();
        options.recursion_desired = self.configured.contains(&server);
        options.cache_size = 0;
        bound(&mut options);
        options.use_hosts_file = ResolveHosts::Never;
        let one = asking(&[server], options)?;
        let found = match one.lookup(asked, RecordType::TXT).await {
            Ok(found) => found,
            Err(error) if error.is_no_records_found() => return Ok(Vec::new()),
            Err(error) => return Err(failure(&place, &error)),
        };
        let texts = found.answers().iter().filter_map(|record| match &record.data {
            RData::TXT(text) => Some(String::from_utf8_lossy(&text.txt_data.concat()).into_owned()),
            _ => None,
        });
        Ok(texts.take(MAX_TXT).collect())
    }

    /// The zone `name` lies in: the owner of the first SOA on the way up, told in an answer or beside a negative one.
    async fn zone(&self, name: &Name) -> Result<Option<Name>, Failure> {
        let mut candidate = name.clone();
        while !candidate.is_root() {
            let owner = match self.recursive.lookup(candidate.clone(), RecordType::SOA).await {
                Ok(found) => found
                    .answers()
                    .iter()
                    .chain(found.authorities())
                    .find(|record| record.record_type() == RecordType::SOA && record.name.zone_of(name))
                    .map(|record| record.name.clone()),
                Err(error) if error.is_no_records_found() => {
                    error.into_soa().map(|soa| soa.name.clone()).filter(|owner| owner.zone_of(name))
                }
                // A resolver that only knows some names (a split horizon, a test's) may refuse the others.
                Err(NetError::Dns(DnsError::ResponseCode(_))) if !self.configured.is_empty() => None,
                Err(error) => return Err(failure(&relative(&candidate), &error)),
            };
            match owner {
                // The root's SOA beside a negative answer says that the top-level domain itself does not exist.
                Some(zone) if !zone.is_root() => return Ok(Some(zone)),
                _ => candidate = candidate.base_name(),
            }
        }
        Ok(None)
    }

    async fn servers_of(&self, zone: &Name) -> Result<Vec<(String, SocketAddr)>, Failure> {
        let found = self.records(zone, RecordType::NS).await.map_err(|error| failure(&relative(zone), &error))?;
        let names: BTreeSet<String> = found
            .iter()
            .flat_map(Lookup::answers)
            .filter_map(|record| match &record.data {
                RData::NS(server) => Some(relative(server)),
                _ => None,
            })
            .take(MAX_NAME_SERVERS)
            .collect();
        let looked_up = join_all(names.iter().map(|server| self.addresses(server))).await;
        Ok(names
            .iter()
            .zip(looked_up)
            .flat_map(|(server, addresses)| {
                // One server whose own name is broken must not hide the others, which the CA will find too.
                addresses.unwrap_or_default().into_iter().map(|address| (server.clone(), address))
            })
            .map(|(server, address)| (server, SocketAddr::new(address, DNS_PORT)))
            .filter(|(_, address)| routed(*address))
            .collect())
    }

    /// The answer, or nothing where there is no such record or name.
    async fn records(&self, name: &Name, kind: RecordType) -> Result<Option<Lookup>, NetError> {
        match self.recursive.lookup(name.clone(), kind).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_no_records_found() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn bound(options: &mut ResolverOpts) {
    options.timeout = QUESTION;
    options.attempts = ATTEMPTS;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
}

fn asking(servers: &[SocketAddr], options: ResolverOpts) -> Result<TokioResolver, Failure> {
    let servers: Vec<NameServerConfig> = servers
        .iter()
        .map(|server| {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                connection.port = server.port();
                connection
            });
            NameServerConfig::new(server.ip(), true, connections.into())
        })
        .collect();
    let place = servers.first().map(|server| server.ip.to_string()).unwrap_or_default();
    let config = ResolverConfig::from_name_servers(servers);
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    *builder.options_mut() = options;
    builder.build().map_err(|error| bad_config(&place, &error.to_string()))
}

/// Whether this machine has a route there: connecting a datagram socket sends nothing. Without this, every name server's
/// IPv6 address would be a laggard on a machine without IPv6.
#[must_use]
pub fn routed(address: SocketAddr) -> bool {
    let any: IpAddr = if address.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    UdpSocket::bind((any, 0)).and_then(|socket| socket.connect(address)).is_ok()
}

/// The name with its root label, so that no search domain is tried.
fn absolute(name: &str) -> Result<Name, Failure> {
    let mut parsed = Name::from_ascii(name)
        .map_err(|error| Failure::new(Class::Spec, "dns:name", name, format!("this is no domain name: {error}")))?;
    parsed.set_fqdn(true);
    Ok(parsed)
}

fn relative(name: &Name) -> String {
    let text = name.to_ascii();
    text.strip_suffix('.').map_or(text.clone(), str::to_owned).to_ascii_lowercase()
}

fn bad_config(place: &str, why: &str) -> Failure {
    Failure::new(Class::Operator, "dns:config", place, format!("no resolver can be made of this: {why}"))
        .advise("Correct it, or name the servers to ask under `resolvers:`.")
}

fn failure(place: &str, error: &NetError) -> Failure {
    let (class, code, message, advice) = match error {
        error if error.is_nx_domain() => {
            (Class::Operator, "dns:nxdomain", "there is no such name".to_owned(), "Publish it, or correct the name.")
        }
        NetError::Dns(DnsError::NoRecordsFound(_)) => {
            (Class::Operator, "dns:noRecord", "the name has no such record".to_owned(), "")
        }
        NetError::Dns(DnsError::ResponseCode(ResponseCode::ServFail)) => (
            Class::Retry,
            "dns:servfail",
            "the server failed to answer (SERVFAIL)".to_owned(),
            "A broken delegation or DNSSEC signature looks like this too.",
        ),
        NetError::Dns(DnsError::ResponseCode(ResponseCode::Refused)) => (
            Class::Operator,
            "dns:refused",
            "the server refused the question (REFUSED)".to_owned(),
            "It does not serve this zone, or not to this machine.",
        ),
        NetError::Dns(DnsError::ResponseCode(code)) => {
            (Class::Retry, "dns:error", format!("the server answered {code}"), "")
        }
        NetError::Timeout => (Class::Retry, "dns:timeout", "no answer in time".to_owned(), ""),
        NetError::Io(_) | NetError::NoConnections => {
            (Class::Retry, "dns:unreachable", format!("the server cannot be reached: {error}"), "")
        }
        other => (Class::Retry, "dns:error", other.to_string(), ""),
    };
    Failure::new(class, code, place, message).advise(advice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_resolver::proto::op::Message;
    use hickory_resolver::proto::rr::Record;
    use hickory_resolver::proto::rr::rdata::{A, CNAME, NS, SOA, TXT};
    use tokio::net::UdpSocket as Socket;
    use tokio::task::JoinHandle;

    fn name(text: &str) -> Name {
        absolute(text).expect(text)
    }

    fn record(owner: &str, data: RData) -> Record {
        Record::from_rdata(name(owner), 60, data)
    }

    fn soa(owner: &str) -> Record {
        record(owner, RData::SOA(SOA::new(name("ns1.example.org"), name("hostmaster.example.org"), 1, 60, 60, 60, 60)))
    }

    /// A name server with a handful of records; what it does not know it denies beside `soa`'s SOA.
    async fn serve(records: Vec<Record>, denial: Record) -> (SocketAddr, JoinHandle<()>) {
        let socket = Socket::bind("127.0.0.1:0").await.expect("bind");
        let address = socket.local_addr().expect("address");
        let task = tokio::spawn(async move {
            let mut buffer = [0; 4096];
            loop {
                let Ok((length, peer)) = socket.recv_from(&mut buffer).await else { return };
                let question = Message::from_vec(&buffer[..length]).expect("a question");
                let query = question.queries[0].clone();
                let mut reply = Message::response(question.metadata.id, question.metadata.op_code);
                if *query.name() == name("broken.example.org") {
                    reply.metadata.response_code = ResponseCode::ServFail;
                } else {
                    let known = records.iter().filter(|r| r.name == *query.name());
                    let answers: Vec<Record> =
                        known.clone().filter(|r| r.record_type() == query.query_type()).cloned().collect();
                    if answers.is_empty() {
                        reply.add_authority(denial.clone());
                    }
                    if known.count() == 0 {
                        reply.metadata.response_code = ResponseCode::NXDomain;
                    }
                    reply.add_answers(answers);
                }
                reply.add_query(query);
                let _ = socket.send_to(&reply.to_vec().expect("encodes"), peer).await;
            }
        });
        (address, task)
    }

    fn zone() -> Vec<Record> {
        let a = |last| RData::A(A(Ipv4Addr::new(127, 0, 0, last)));
        vec![
            soa("example.org"),
            record("example.org", RData::NS(NS(name("ns1.example.org")))),
            record("example.org", RData::NS(NS(name("gone.example.org")))),
            record("ns1.example.org", a(1)),
            record("www.example.org", a(3)),
            record("www.example.org", a(2)),
            record("_acme-challenge.example.org", RData::CNAME(CNAME(name("Proof.example.net")))),
            record("txt.example.org", RData::TXT(TXT::new(vec!["two ".into(), "parts".into()]))),
        ]
    }

    #[tokio::test]
    async fn a_zone_is_found_from_below_and_a_dead_name_server_hides_no_other() {
        let (server, _task) = serve(zone(), soa("example.org")).await;
        let resolver = Resolver::new(&[server]).expect("resolver");
        for asked in ["example.org", "www.example.org", "a.b.c.example.org"] {
            let found = resolver.authoritative(asked).await.expect(asked);
            assert_eq!(
                found,
                vec![("ns1.example.org".to_owned(), "127.0.0.1:53".parse().expect("address"))],
                "{asked}"
            );
        }
    }

    #[tokio::test]
    async fn a_foreign_soa_is_not_followed_and_configured_resolvers_stand_in() {
        let (server, _task) = serve(Vec::new(), soa("challenges.invalid")).await;
        let resolver = Resolver::new(&[server]).expect("resolver");
        let found = resolver.authoritative("_acme-challenge.shop.test").await.expect("the resolver itself");
        assert_eq!(found, vec![(server.to_string(), server)]);
    }

    #[tokio::test]
    async fn addresses_and_failures_have_their_codes() {
        let (server, _task) = serve(zone(), soa("example.org")).await;
        let resolver = Resolver::new(&[server]).expect("resolver");
        let found = resolver.addresses("www.example.org").await.expect("addresses");
        assert_eq!(found, [2, 3].map(|last| IpAddr::from([127, 0, 0, last])).to_vec());
        assert_eq!(resolver.addresses("[::1]").await.expect("itself"), vec![IpAddr::from(Ipv6Addr::LOCALHOST)]);
        let code = async |host: &str| resolver.addresses(host).await.expect_err(host).code;
        assert_eq!(code("nobody.example.org").await, "dns:nxdomain");
        assert_eq!(code("txt.example.org").await, "dns:noAddress");
        assert_eq!(code("broken.example.org").await, "dns:servfail");
        assert_eq!(code("not a..name").await, "dns:name");
    }

    #[tokio::test]
    async fn txt_is_joined_absence_is_empty_and_a_cname_is_shown() {
        let (server, _task) = serve(zone(), soa("example.org")).await;
        let resolver = Resolver::new(&[server]).expect("resolver");
        assert_eq!(resolver.txt_at(server, "txt.example.org").await.expect("texts"), vec!["two parts".to_owned()]);
        assert!(resolver.txt_at(server, "nobody.example.org").await.expect("none").is_empty());
        assert_eq!(resolver.txt_at(server, "broken.example.org").await.expect_err("servfail").code, "dns:servfail");
        let target = resolver.cname_target("_acme-challenge.example.org").await.expect("a CNAME");
        assert_eq!(target.as_deref(), Some("proof.example.net"));
        assert_eq!(resolver.cname_target("nobody.example.org").await.expect("none"), None);
    }

    #[tokio::test]
    async fn silence_ends() {
        let silent = Socket::bind("127.0.0.1:0").await.expect("bind");
        let server = silent.local_addr().expect("address");
        let resolver = Resolver::new(&[server]).expect("resolver");
        assert_eq!(resolver.txt_at(server, "txt.example.org").await.expect_err("silence").code, "dns:timeout");
    }
}
