//! A certificate swapped again and again under clients that never stop: nobody is turned away, and nobody is shown a certificate without
//! its key.

use crate::deploy::World;
use crate::rig::{HaProxy, Nginx, free_port, host, wait_until};
use crate::support::{block_on, context, nodes};
use everleaf::config::spec::{Node, NodeKind, Reload};
use everleaf::pki;
use everleaf::ports::{Generation, HookContext, Production, Reloader};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Clients of each server.
const CLIENTS: usize = 2;
/// Until a reloaded server shows what it was told of, also on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// What the clients of one server have seen.
#[derive(Debug)]
struct Clients {
    provider: Arc<CryptoProvider>,
    known: [CertificateDer<'static>; 2],
    /// Which of the two was shown last.
    last: AtomicUsize,
    handshakes: AtomicUsize,
    failed: Mutex<Vec<String>>,
    ended: AtomicBool,
}

impl ServerCertVerifier for Clients {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let which = self.known.iter().position(|known| known == leaf);
        let which = which.ok_or_else(|| Error::General("neither of the two".to_owned()))?;
        self.last.store(which, Ordering::SeqCst);
        Ok(ServerCertVerified::assertion())
    }

    // What makes sure that the key is the certificate's.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, leaf, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl Clients {
    fn of(generations: [&Generation<Production>; 2]) -> Arc<Self> {
        let leaf = |it: &Generation<Production>| CertificateDer::from_pem_slice(it.cert.as_bytes()).expect("a leaf");
        Arc::new(Self {
            provider: Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
            known: generations.map(leaf),
            last: AtomicUsize::new(0),
            handshakes: AtomicUsize::new(0),
            failed: Mutex::default(),
            ended: AtomicBool::new(false),
        })
    }

    /// Full handshakes, one after another, until they are told to end.
    fn keep_coming(self: &Arc<Self>, at: SocketAddr) {
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider));
        let builder = builder.with_safe_default_protocol_versions().expect("versions").dangerous();
        let mut config = builder.with_custom_certificate_verifier(Arc::clone(self) as _).with_no_client_auth();
        config.resumption = Resumption::disabled();
        let config = Arc::new(config);
        while !self.ended.load(Ordering::SeqCst) {
            match shake(&config, at) {
                Ok(()) => _ = self.handshakes.fetch_add(1, Ordering::SeqCst),
                Err(error) => self.failed.lock().expect("no panic").push(error.to_string()),
            }
        }
    }
}

fn shake(config: &Arc<ClientConfig>, at: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&at, SOON)?;
    stream.set_read_timeout(Some(SOON))?;
    let name = ServerName::try_from("shop.example.com").expect("a name");
    let mut session = ClientConnection::new(Arc::clone(config), name).map_err(std::io::Error::other)?;
    while session.is_handshaking() {
        session.complete_io(&mut stream)?;
    }
    session.send_close_notify();
    while session.wants_write() {
        session.write_tls(&mut stream)?;
    }
    Ok(())
}

fn about(world: &World, generation: &Generation<Production>) -> HookContext {
    let serial = pki::parse::chain(generation.cert.as_bytes()).expect("a certificate")[0].serial().clone();
    let about = context("shop", &world.path("live/shop"), Some(&generation.dir));
    HookContext { generation: Some(generation.about.generation), serial: Some(serial), ..about }
}

#[test]
#[expect(clippy::print_stdout, reason = "how much was tried is what makes it mean something")]
fn swaps_under_load_turn_nobody_away() {
    let swaps = if std::env::var_os("EVERLEAF_FULL").is_some() { 1000 } else { 100 };
    let world = World::new();
    let generations = [world.generation(1), world.generation(2)];
    let here = world.node(NodeKind::Local);
    world.deploy(&here, &generations[0], 1).expect("published");
    let live = world.path("live/shop");
    let at = [(); 2].map(|()| SocketAddr::from((host(), free_port())));
    let nginx = Nginx::start(&Nginx::tls(at[0], &live.join("fullchain.pem"), &live.join("privkey.pem")), at[0]);
    let front = format!("frontend tls\n    bind {} ssl crt {}\n", at[1], live.join("bundle.pem").display());
    let haproxy = HaProxy::start("", &format!("{front}    http-request return status 200\n"), at[1]);
    let reloads = [
        Reload::Signal { signal: "HUP".to_owned(), pid_file: nginx.pid_file() },
        Reload::HaProxy { socket: haproxy.socket(), list: None },
    ];
    let clients = [(); 2].map(|()| Clients::of(generations.each_ref()));
    let threads: Vec<_> = clients
        .iter()
        .zip(at)
        .flat_map(|(clients, at)| {
            (0..CLIENTS).map(move |_| {
                let clients = Arc::clone(clients);
                thread::spawn(move || clients.keep_coming(at))
            })
        })
        .collect();
    for swap in 1..=swaps {
        let wanted = swap % 2;
        let generation = &generations[wanted];
        world.deploy(&here, generation, 1 + u64::try_from(swap).expect("a number")).expect("published");
        for (reload, clients) in reloads.iter().zip(&clients) {
            let node = Node { reload: reload.clone(), ..here.clone() };
            block_on(nodes(&world.systemd).reload(&node, &[about(&world, generation)])).expect("reloaded");
            let shown = wait_until(SOON, || clients.last.load(Ordering::SeqCst) == wanted);
            assert!(shown, "swap {swap} is not served: {reload:?}");
        }
    }
    for clients in &clients {
        clients.ended.store(true, Ordering::SeqCst);
    }
    for thread in threads {
        thread.join().expect("a client");
    }
    for (clients, which) in clients.iter().zip(["nginx", "HAProxy"]) {
        let handshakes = clients.handshakes.load(Ordering::SeqCst);
        println!("{which}: {swaps} swaps, {handshakes} handshakes");
        assert_eq!(*clients.failed.lock().expect("no panic"), Vec::<String>::new(), "{which}, of {handshakes}");
        assert!(handshakes > 5 * swaps, "{which}: {handshakes} handshakes say little");
    }
}
