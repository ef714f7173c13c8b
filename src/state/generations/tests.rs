use super::*;
use crate::config::spec::{Budget, Issuer, KeyAlgorithm, Roots, Usage};
use crate::pki::testing::{Authority, in_2026, server};
use crate::ports::Keys;
use crate::state::tests::{Scratch, cert};
use crate::types::{Identifier, IssuerName, KeyId, sha256};
use rcgen::KeyPair;
use std::fs;
use std::path::PathBuf;

/// An issuer with a root and an intermediate, a state directory, and a key in it.
struct World {
    scratch: Scratch,
    state: StateRoot,
    root: Authority,
    between: Authority,
    issuer: Issuer,
    key: KeyId,
    names: Vec<Identifier>,
}

impl World {
    fn new() -> Self {
        let scratch = Scratch::new();
        let state = scratch.open();
        let root = Authority::root("Root");
        let between = root.intermediate("Intermediate");
        let roots = scratch.paths.live.with_file_name("roots.pem");
        fs::write(&roots, root.certificate.pem()).unwrap();
        let issuer = Issuer {
            name: IssuerName::new("le").unwrap(),
            directory: "https://ca.example/dir".to_owned(),
            roots: Roots::File(roots),
            ca_bundle: None,
            contact: Vec::new(),
            agree_to_terms: true,
            profile: None,
            external_account: None,
            budget: Budget::default(),
            parallel: 1,
            dry_run: None,
        };
        let key = make_key(&state);
        Self { scratch, state, root, between, issuer, key, names: vec!["shop.example".parse().unwrap()] }
    }

    /// A chain for our key, as a CA might send it: with the root at its end.
    fn chain(&self) -> String {
        let pair = KeyPair::from_pem(self.state.key(&cert("shop"), &self.key).unwrap().reveal()).unwrap();
        let leaf = self.between.sign(&server(&["shop.example"]), &pair);
        [&leaf, &self.between.certificate, &self.root.certificate].map(pki::Certificate::pem).concat()
    }

    fn stage(&self, pem: &str, rehearsal: bool) -> Result<About, Failure> {
        let download = Download {
            number: 7,
            pem: pem.as_bytes(),
            key: &self.key,
            issuer: &self.issuer,
            rehearsal,
            account: "https://ca.example/acct/1",
            spec_digest: sha256(&[b"spec"]),
        };
        self.state.stage(&cert("shop"), &download)
    }

    fn judge(&self, generation: GenId) -> Verdict {
        let criteria = Criteria {
            names: &self.names,
            usage: Usage::Server,
            issuer: &self.issuer,
            rehearsal: false,
            old_serials: &[],
            previous: None,
            now: in_2026(),
        };
        self.state.judge(&cert("shop"), generation, &criteria).unwrap()
    }

    fn dir(&self, generation: GenId) -> PathBuf {
        self.scratch.paths.state.join("certs/shop/gen").join(generation.to_string())
    }
}

fn make_key(state: &StateRoot) -> KeyId {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(state.make(&cert("shop"), KeyAlgorithm::EcdsaP256)).unwrap()
}

#[test]
fn a_key_is_stored_under_its_own_digest_and_signs_requests() {
    let world = World::new();
    let shop = cert("shop");
    assert!(!world.state.csr(&shop, &world.key, &world.names).unwrap().is_empty());
    let [other, file] = [make_key(&world.state), world.key]
        .map(|key| world.scratch.paths.state.join(format!("certs/shop/keys/{key}.pem")));
    fs::copy(&other, &file).unwrap();
    assert_eq!(world.state.csr(&shop, &world.key, &world.names).unwrap_err().code, "key:damaged");
    for _ in 0..2 {
        world.state.discard(&shop, &world.key).unwrap();
        assert_eq!(world.state.csr(&shop, &world.key, &world.names).unwrap_err().code, "key:missing");
    }
}

#[test]
fn a_staged_generation_can_be_read_only_once_it_is_accepted() {
    let world = World::new();
    let shop = cert("shop");
    let about = world.stage(&world.chain(), false).unwrap();
    assert_eq!(world.state.read(&shop, about.generation).unwrap_err().code, "generation:missing");
    assert!(
        matches!(world.judge(about.generation), Verdict::Accepted { notes } if notes.len() == 1),
        "the root is noted"
    );
    let AnyGeneration::Production(generation) = world.state.read(&shop, about.generation).unwrap() else { panic!() };
    assert_eq!(generation.chain, world.between.certificate.pem(), "the root is dropped");
    assert_eq!(fs::read_to_string(world.dir(about.generation).join("fullchain.pem")).unwrap(), generation.fullchain());
    assert_eq!(world.state.list(&shop).unwrap(), [About { accepted: Some(in_2026()), ..about }]);
}

#[test]
fn staging_again_is_done_and_keeps_the_acceptance() {
    let world = World::new();
    let chain = world.chain();
    let about = world.stage(&chain, false).unwrap();
    assert_eq!(world.stage(&chain, false).unwrap(), about);
    world.judge(about.generation);
    assert_eq!(world.stage(&chain, false).unwrap().accepted, Some(in_2026()));
    fs::remove_file(world.dir(about.generation).join("about.json")).unwrap();
    assert_eq!(world.stage(&chain, false).unwrap(), about, "a damaged one is built anew");
}

#[test]
fn a_rejected_chain_keeps_the_order_it_came_in_and_is_never_read() {
    let world = World::new();
    let chain = pki::parse::chain(world.chain().as_bytes()).unwrap();
    let misordered = [&chain[1], &chain[0]].map(pki::Certificate::pem).concat();
    let about = world.stage(&misordered, false).unwrap();
    assert_eq!(about.leaf, chain[0].fingerprint());
    for _ in 0..2 {
        let Verdict::Rejected { violations } = world.judge(about.generation) else { panic!("accepted") };
        assert!(violations.iter().any(|violation| violation.code == "chain_out_of_order"), "{violations:?}");
    }
    assert_eq!(world.state.read(&cert("shop"), about.generation).unwrap_err().code, "generation:missing");
}

#[test]
fn a_rehearsals_generation_is_refused_by_a_production_spec_and_is_another_type() {
    let world = World::new();
    let about = world.stage(&world.chain(), true).unwrap();
    let Verdict::Rejected { violations } = world.judge(about.generation) else { panic!("accepted") };
    assert!(violations.iter().any(|violation| violation.code == "rehearsal"));
    let path = world.dir(about.generation).join("about.json");
    let accepted = About { accepted: Some(in_2026()), ..about.clone() };
    fs::write(path, serde_json::to_string(&accepted).unwrap()).unwrap();
    let read = world.state.read(&cert("shop"), about.generation).unwrap();
    assert!(matches!(read, AnyGeneration::Rehearsed(_)));
}

#[test]
fn what_does_not_belong_together_is_damaged() {
    let world = World::new();
    let shop = cert("shop");
    let about = world.stage(&world.chain(), false).unwrap();
    world.judge(about.generation);
    let other = world.state.key(&shop, &make_key(&world.state)).unwrap();
    for (file, contents) in
        [("privkey.pem", other.reveal()), ("cert.pem", "junk"), ("chain.pem", "junk"), ("about.json", "{}")]
    {
        let path = world.dir(about.generation).join(file);
        let sound = fs::read(&path).unwrap();
        fs::write(&path, contents).unwrap();
        assert_eq!(world.state.read(&shop, about.generation).unwrap_err().code, "generation:damaged", "{file}");
        fs::write(&path, sound).unwrap();
        world.state.read(&shop, about.generation).unwrap();
    }
    fs::write(world.dir(about.generation).join("about.json"), "{}").unwrap();
    assert_eq!(world.state.list(&shop).unwrap(), [], "and is left out of the list");
}

#[test]
fn what_is_no_certificate_is_not_staged_and_pruning_is_repeatable() {
    let world = World::new();
    let shop = cert("shop");
    assert_eq!(world.stage("<html>", false).unwrap_err().code, "gate:unreadable");
    assert_eq!(world.state.list(&shop).unwrap(), []);
    let about = world.stage(&world.chain(), false).unwrap();
    for _ in 0..2 {
        world.state.prune(&shop, about.generation).unwrap();
        assert_eq!(world.state.list(&shop).unwrap(), []);
    }
    assert_eq!(fs::read_dir(world.scratch.paths.state.join("certs/shop/gen")).unwrap().count(), 0);
}
