//! A CA, looks at endpoints, and servers that misbehave on purpose.

use everleaf::config::spec::{Endpoint, Expect, Roots, StartTls, Target};
use everleaf::net::dns::Resolver;
use everleaf::pki::Certificate;
use everleaf::ports::{Clock, Look, Observation, Pending, Prober};
use everleaf::probe::TlsProber;
use everleaf::types::{Fingerprint, KeyFamily, Timestamp, Vantage, sha256};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevocationReason, RevokedCertParams, SerialNumber,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

/// Root and intermediate; leaves are issued by the latter.
pub(crate) struct Ca {
    root: (CertificateParams, KeyPair, String),
    intermediate: (CertificateParams, KeyPair, String),
}

impl Ca {
    pub(crate) fn new(name: &str) -> Self {
        let (root_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let root = authority(&format!("{name} Root"));
        let root_pem = root.self_signed(&root_key).unwrap().pem();
        let params = authority(&format!("{name} Intermediate"));
        let issuer = rcgen::Issuer::from_params(&root, &root_key);
        let pem = params.signed_by(&key, &issuer).unwrap().pem();
        Self { root: (root, root_key, root_pem), intermediate: (params, key, pem) }
    }

    pub(crate) fn root(&self) -> &str {
        &self.root.2
    }

    pub(crate) fn intermediate(&self) -> &str {
        &self.intermediate.2
    }

    /// Another intermediate of the same name, with another key.
    pub(crate) fn twin(&self) -> String {
        let issuer = rcgen::Issuer::from_params(&self.root.0, &self.root.1);
        self.intermediate.0.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap().pem()
    }

    /// A CRL of the intermediate that lists this serial number, DER.
    pub(crate) fn crl(&self, serial: u64) -> Vec<u8> {
        let params = CertificateRevocationListParams {
            this_update: (SystemTime::now() - Duration::from_secs(3600)).into(),
            next_update: (SystemTime::now() + Duration::from_secs(86_400)).into(),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: SerialNumber::from(serial),
                revocation_time: (SystemTime::now() - Duration::from_secs(7200)).into(),
                reason_code: Some(RevocationReason::KeyCompromise),
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let issuer = rcgen::Issuer::from_params(&self.intermediate.0, &self.intermediate.1);
        params.signed_by(&issuer).unwrap().der().to_vec()
    }

    pub(crate) fn issue(&self, name: &str) -> Leaf {
        self.issue_for(name, &KeyPair::generate().unwrap())
    }

    pub(crate) fn issue_rsa(&self, name: &str) -> Leaf {
        self.issue_for(name, &KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap())
    }

    /// A leaf whose life of 90 days began so many days ago.
    pub(crate) fn issue_from(&self, name: &str, days_ago: i64) -> Leaf {
        self.issue_with(name, &KeyPair::generate().unwrap(), |params| live(params, -days_ago, 90 - days_ago))
    }

    /// The same key again, under another serial.
    pub(crate) fn issue_again(&self, leaf: &Leaf, days_ago: i64) -> Leaf {
        let key = KeyPair::from_pem(&leaf.key).unwrap();
        self.issue_with(&leaf.name, &key, |params| live(params, -days_ago, 90 - days_ago))
    }

    fn issue_for(&self, name: &str, key: &KeyPair) -> Leaf {
        self.issue_with(name, key, |_| {})
    }

    /// Valid from yesterday on for ninety days, and then as `change` says.
    pub(crate) fn issue_with(&self, name: &str, key: &KeyPair, change: impl FnOnce(&mut CertificateParams)) -> Leaf {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        live(&mut params, -1, 89);
        change(&mut params);
        let issuer = rcgen::Issuer::from_params(&self.intermediate.0, &self.intermediate.1);
        let certificate = params.signed_by(key, &issuer).unwrap();
        Leaf {
            name: name.to_owned(),
            family: if key.algorithm() == &rcgen::PKCS_RSA_SHA256 { KeyFamily::Rsa } else { KeyFamily::Ecdsa },
            cert: certificate.pem(),
            chain: self.intermediate().to_owned(),
            key: key.serialize_pem(),
        }
    }
}

/// Has it live from so many days after now to so many.
pub(crate) fn live(params: &mut CertificateParams, from: i64, to: i64) {
    const DAY: u64 = 86_400;
    let day = |days: i64| {
        let span = Duration::from_secs(DAY * days.unsigned_abs());
        if days < 0 { SystemTime::now() - span } else { SystemTime::now() + span }
    };
    (params.not_before, params.not_after) = (day(from).into(), day(to).into());
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    params
}

/// An issued certificate, PEM.
#[derive(Clone)]
pub(crate) struct Leaf {
    pub(crate) name: String,
    pub(crate) family: KeyFamily,
    pub(crate) cert: String,
    pub(crate) chain: String,
    pub(crate) key: String,
}

impl Leaf {
    pub(crate) fn fullchain(&self) -> String {
        format!("{}{}", self.cert, self.chain)
    }

    pub(crate) fn print(&self) -> Fingerprint {
        prints(&self.cert)[0]
    }

    /// Writes `fullchain` and the key into `dir` and answers their paths.
    pub(crate) fn write(&self, dir: &Path, stem: &str, fullchain: &str) -> (PathBuf, PathBuf) {
        let (chain, key) = (dir.join(format!("{stem}.pem")), dir.join(format!("{stem}.key")));
        fs::write(&chain, fullchain).unwrap();
        fs::write(&key, &self.key).unwrap();
        (chain, key)
    }
}

/// The certificates of a PEM text, read.
pub(crate) fn certificates(pem: &str) -> Vec<Certificate> {
    let read = |der: Result<CertificateDer<'_>, _>| Certificate::from_der(&der.unwrap()).unwrap();
    CertificateDer::pem_slice_iter(pem.as_bytes()).map(read).collect()
}

fn prints(pem: &str) -> Vec<Fingerprint> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).map(|der| sha256(&[&der.unwrap()])).collect()
}

pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        Timestamp::from_millis(now.as_millis().try_into().unwrap())
    }

    fn sleep(&self, span: Duration) -> Pending<'_, ()> {
        Box::pin(tokio::time::sleep(span))
    }
}

/// How to look; the defaults are one handshake, no STARTTLS, the leaf itself.
#[derive(Clone)]
pub(crate) struct How {
    pub(crate) handshakes: u32,
    pub(crate) over: Duration,
    pub(crate) starttls: StartTls,
    pub(crate) expect: Expect,
    pub(crate) roots: Roots,
    pub(crate) sni: Option<String>,
    pub(crate) resolvers: Vec<SocketAddr>,
    pub(crate) revocation: bool,
}

impl Default for How {
    fn default() -> Self {
        Self {
            handshakes: 1,
            over: Duration::ZERO,
            starttls: StartTls::No,
            expect: Expect::Leaf,
            roots: Roots::Unchecked,
            sni: None,
            resolvers: Vec::new(),
            revocation: false,
        }
    }
}

/// Looks for `leaf` at `target`.
pub(crate) fn look(target: Target, leaf: &Leaf, how: &How) -> Vec<Observation> {
    let chain = prints(&leaf.fullchain());
    let endpoint = Endpoint {
        target,
        sni: how.sni.as_deref().unwrap_or(&leaf.name).parse().unwrap(),
        node: None,
        starttls: how.starttls,
        expect: how.expect,
        from: Vantage::Here,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let prober = TlsProber::new(Rc::new(Resolver::new(&how.resolvers).unwrap()), Rc::new(SystemClock)).unwrap();
        let look = Look {
            endpoint: &endpoint,
            leaf: leaf.print(),
            chain: &chain,
            family: leaf.family,
            roots: &how.roots,
            handshakes: how.handshakes,
            over: how.over,
            revocation: how.revocation,
        };
        prober.observe(&look).await
    })
}

/// Looks once at one address.
pub(crate) fn look_at(address: SocketAddr, leaf: &Leaf) -> Observation {
    look_how(address, leaf, &How::default())
}

pub(crate) fn look_how(address: SocketAddr, leaf: &Leaf, how: &How) -> Observation {
    let mut seen = look(Target::Address(address), leaf, how);
    assert_eq!(seen.len(), 1);
    seen.remove(0)
}

/// A listener whose every connection `serve` gets, with its number from 0. It ends with the test process.
pub(crate) fn listen(address: SocketAddr, serve: impl Fn(usize, TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind(address).unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let serve = Arc::clone(&serve);
            std::thread::spawn(move || serve(number, stream.unwrap()));
        }
    });
    address
}

/// A server that says each line of `script`, after each waits for a command, and then speaks TLS with `leaf`.
pub(crate) fn after_plain_text(address: SocketAddr, script: &'static [&'static str], leaf: &Leaf) -> SocketAddr {
    let config = tls([leaf.clone()]);
    listen(address, move |_, mut stream| {
        for (at, line) in script.iter().enumerate() {
            let _ = stream.write_all(line.as_bytes());
            if at + 1 < script.len() && !matches!(stream.read(&mut [0; 256]), Ok(count) if count > 0) {
                return;
            }
        }
        handshake(&config, stream);
    })
}

/// A TLS server that shows `leaves` one after the other, a new one each handshake, and stays with the last.
pub(crate) fn in_turn<const N: usize>(address: SocketAddr, leaves: [Leaf; N]) -> SocketAddr {
    let config = tls(leaves);
    listen(address, move |_, stream| handshake(&config, stream))
}

pub(crate) fn handshake(config: &Arc<rustls::ServerConfig>, stream: TcpStream) {
    let session = rustls::ServerConnection::new(Arc::clone(config)).unwrap();
    let mut stream = rustls::StreamOwned::new(session, stream);
    let _ = stream.read(&mut [0; 16]);
}

#[derive(Debug)]
struct InTurn {
    keys: Vec<Arc<CertifiedKey>>,
    next: AtomicUsize,
}

impl ResolvesServerCert for InTurn {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let at = self.next.fetch_add(1, Ordering::Relaxed).min(self.keys.len() - 1);
        Some(Arc::clone(&self.keys[at]))
    }
}

pub(crate) fn tls<const N: usize>(leaves: [Leaf; N]) -> Arc<rustls::ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let keys = leaves.map(|leaf| {
        let chain = CertificateDer::pem_slice_iter(leaf.fullchain().as_bytes()).map(Result::unwrap).collect();
        let key = provider.key_provider.load_private_key(PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap());
        Arc::new(CertifiedKey::new(chain, key.unwrap()))
    });
    let resolver = InTurn { keys: keys.into(), next: AtomicUsize::new(0) };
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_no_client_auth().with_cert_resolver(Arc::new(resolver)))
}

/// A TLS server with these files that says `text` to whoever asks anything.
pub(crate) fn listen_tls(address: SocketAddr, chain: &Path, key: &Path, text: String) -> SocketAddr {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let chain = CertificateDer::pem_file_iter(chain).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let config = Arc::new(builder.with_no_client_auth().with_single_cert(chain, key).unwrap());
    listen(address, move |_, stream| {
        let session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut stream = rustls::StreamOwned::new(session, stream);
        if stream.read(&mut [0; 4096]).is_ok_and(|count| count > 0) {
            let _ = stream.write_all(text.as_bytes());
            let _ = stream.flush();
        }
    })
}
