//! Certificates with chosen defects, for tests.

use super::parse::{Certificate, chain};
use super::roots::Anchors;
use crate::types::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

/// The time at which what is made here is valid.
pub(crate) fn in_2026() -> Timestamp {
    "2026-11-22T10:00:00Z".parse().unwrap()
}

/// A CA with its key.
pub(crate) struct Authority {
    /// Its certificate.
    pub(crate) certificate: Certificate,
    params: CertificateParams,
    key: KeyPair,
}

impl Authority {
    /// A self-signed root.
    pub(crate) fn root(name: &str) -> Self {
        Self::root_with(ca(name))
    }

    /// A self-signed root as `params` say.
    pub(crate) fn root_with(params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = Certificate::from_der(params.self_signed(&key).unwrap().der()).unwrap();
        Self { certificate, params, key }
    }

    /// A CA below this one.
    pub(crate) fn intermediate(&self, name: &str) -> Self {
        self.intermediate_with(ca(name))
    }

    /// A CA below this one, as `params` say.
    pub(crate) fn intermediate_with(&self, params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = self.sign(&params, &key);
        Self { certificate, params, key }
    }

    /// The same CA, name and key, certified by `other` as well.
    pub(crate) fn also_by(&self, other: &Self) -> Certificate {
        other.sign(&self.params, &self.key)
    }

    /// The same, until a day of 2026 that is over at [`in_2026`].
    pub(crate) fn ended_by(&self, other: &Self) -> Certificate {
        other.sign(&ended(self.params.clone()), &self.key)
    }

    /// `count` CAs that each sign every other: one of them, and all certificates.
    pub(crate) fn cross_signed(&self, count: usize) -> (Self, Vec<Certificate>) {
        let mut crowd: Vec<Self> = (0..4).map(|n| self.intermediate(&format!("C{n}"))).collect();
        let pairs = (0..4).flat_map(|a| (0..4).map(move |b| (a, b))).filter(|(a, b)| a != b);
        let mut sent: Vec<Certificate> = pairs.map(|(a, b)| crowd[a].also_by(&crowd[b])).collect();
        sent.extend(crowd.iter().map(|ca| ca.certificate.clone()));
        sent.truncate(count);
        (crowd.swap_remove(0), sent)
    }

    /// A server's certificate with a key of its own.
    pub(crate) fn leaf(&self, names: &[&str]) -> Certificate {
        self.sign(&server(names), &KeyPair::generate().unwrap())
    }

    /// A certificate as `params` say, for `key`.
    pub(crate) fn sign(&self, params: &CertificateParams, key: &KeyPair) -> Certificate {
        let issuer = Issuer::from_params(&self.params, &self.key);
        Certificate::from_der(params.signed_by(key, &issuer).unwrap().der()).unwrap()
    }

    /// Its key.
    pub(crate) const fn key(&self) -> &KeyPair {
        &self.key
    }

    /// This CA as the only trusted root.
    pub(crate) fn anchors(&self) -> Anchors {
        Anchors::from_pem(self.certificate.pem().as_bytes(), "test").unwrap()
    }
}

/// A CA's parameters, valid for years around [`in_2026`].
pub(crate) fn ca(name: &str) -> CertificateParams {
    let mut params = dated(CertificateParams::default());
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// A server certificate's parameters.
pub(crate) fn server(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = dated(CertificateParams::new(names).unwrap());
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

/// The same parameters, over at [`in_2026`].
pub(crate) fn ended(mut params: CertificateParams) -> CertificateParams {
    params.not_after = rcgen::date_time_ymd(2026, 2, 1);
    params
}

fn dated(mut params: CertificateParams) -> CertificateParams {
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2027, 1, 1);
    params.use_authority_key_identifier_extension = true;
    params
}

/// `openssl verify` as it judges a chain: no system store, only `roots`, all after the leaf untrusted.
pub(crate) fn openssl_accepts(roots: &[Certificate], sent: &[Certificate], asked: &[&str], at: Timestamp) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, certificates: &[Certificate]| {
        let path = dir.path().join(name);
        std::fs::write(&path, certificates.iter().map(Certificate::pem).collect::<String>()).unwrap();
        path
    };
    let mut command = std::process::Command::new("openssl");
    command.args(["verify", "-no-CApath", "-no-CAstore", "-attime", &at.as_secs().to_string()]).args(asked);
    command.arg("-CAfile").arg(write("roots.pem", roots));
    if sent.len() > 1 {
        command.arg("-untrusted").arg(write("chain.pem", &sent[1..]));
    }
    command.arg(write("leaf.pem", &sent[..1])).output().expect("openssl runs").status.success()
}

/// A self-made chain of Root and leaf by openssl, for what rcgen does not sign: `(root, leaf)`.
pub(crate) fn by_openssl(bits: &str, hash: &str) -> (Certificate, Certificate) {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let script = format!(
        "openssl req -x509 -newkey rsa:2048 -nodes -sha256 -subj /CN=Root -days 9 -keyout r.key -out r.pem \
           -addext keyUsage=critical,keyCertSign
         openssl req -newkey rsa:{bits} -nodes -subj /CN=leaf -keyout l.key -out l.csr
         printf 'subjectAltName=DNS:a.example,DNS:*.b.example\nextendedKeyUsage=serverAuth\n' > ext
         openssl x509 -req -in l.csr -CA r.pem -CAkey r.key -CAcreateserial -days 5 -{hash} -extfile ext -out l.pem"
    );
    let made = std::process::Command::new("sh").arg("-ec").arg(script).current_dir(dir).output().expect("sh runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let read = |name: &str| chain(&std::fs::read(dir.join(name)).unwrap()).unwrap().remove(0);
    (read("r.pem"), read("l.pem"))
}
