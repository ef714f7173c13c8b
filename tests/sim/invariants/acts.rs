//! Invariants of each act on the world, as it begins.

use super::*;

impl State {
    /// Whether a journal was damaged, and is not rebuilt yet.
    fn is_harmed(&self, name: &CertName) -> bool {
        self.watcher.harmed.contains(name) && !self.watcher.truth.contains_key(name)
    }

    /// Key and intent are durable before the request for an order.
    pub(crate) fn about_to_order(&mut self, issuer: &IssuerName, order: &NewOrder) {
        let wanted: BTreeSet<&Identifier> = order.names.iter().collect();
        let intended = self.watcher.truth.iter().find_map(|(name, ledger)| {
            let open = ledger.order.as_ref().filter(|open| open.issuer == *issuer && open.phase == Phase::Intended)?;
            (open.names.iter().collect::<BTreeSet<_>>() == wanted).then(|| (name.clone(), open.clone()))
        });
        let Some((name, open)) = intended else {
            // A process goes on with what it began while its journal was damaged under it, until it has to append.
            if self.watcher.harmed.iter().any(|name| !self.watcher.truth.contains_key(name)) {
                return;
            }
            return self.watcher.violated("intent_is_durable_before_the_request", format!("{:?}", order.names));
        };
        if !self.store.keys.contains_key(&(name.clone(), open.key)) {
            self.watcher.violated("key_is_durable_before_the_order", name.to_string());
        }
        // A reply that was lost is no reason to ask again under the same intent.
        if !self.watcher.opened.insert((name.clone(), open.attempt)) && !self.watcher.harmed.contains(&name) {
            self.watcher.violated("one_order_an_intent", format!("{name}: attempt {}", open.attempt));
        }
        self.watcher.ordered_names.insert(open.spec_digest, order.names.clone());
    }

    pub(crate) fn about_to_finalize(&mut self, csr: &[u8]) {
        let csr: Value = serde_json::from_slice(csr).unwrap_or_default();
        let (name, key) = (csr["name"].as_str().unwrap_or(""), csr["key"].as_str().unwrap_or(""));
        let (Ok(name), Ok(key)) = (name.parse::<CertName>(), key.parse::<KeyId>()) else {
            return self.watcher.violated("intent_is_durable_before_the_request", "a CSR of nobody");
        };
        if self.is_harmed(&name) {
            return;
        }
        let ledger = self.watcher.ledger(&name);
        let order = &ledger.order;
        let intended = order.as_ref().is_some_and(|order| order.phase == Phase::CsrIntended && order.key == key);
        if !intended {
            self.watcher.violated("intent_is_durable_before_the_request", format!("{name}: a CSR in {order:?}"));
        }
    }

    pub(crate) fn about_to_put_up(&mut self, name: &CertName, proofs: &[Proof]) {
        if self.is_harmed(name) {
            return;
        }
        let ledger = self.watcher.ledger(name);
        let known = |proof: &Proof| ledger.left_up.values().flatten().any(|up| up == proof);
        if !proofs.iter().all(known) {
            self.watcher.violated("intent_is_durable_before_the_request", format!("{name}: challenges"));
        }
    }

    /// An unaccepted chain is never published; what is published is what is wanted there, and a pair.
    pub(crate) fn about_to_publish(&mut self, name: &CertName, node: &NodeName, generation: &Generation<Production>) {
        if self.is_harmed(name) {
            return;
        }
        self.it_is_its_turn(name, node);
        let about = &generation.about;
        let ledger = self.watcher.ledger(name);
        let held = ledger.generations.get(&about.generation);
        if !held.is_some_and(|held| matches!(held.gate, Gate::Accepted { .. })) || about.accepted.is_none() {
            self.watcher.violated("unaccepted_is_never_published", format!("{name} {}", about.generation));
        }
        let names = self.watcher.ordered_names.get(&about.spec_digest).cloned().unwrap_or_default();
        let stored = self.store.generations.get(&(name.clone(), about.generation));
        let bad = stored.is_none_or(|stored| !stored.violations(&names).is_empty());
        let pair = stored.is_some_and(|stored| {
            generation.privkey.reveal() == stored.certificate.key.to_string() && stored.certificate.leaf() == about.leaf
        });
        if bad {
            self.watcher.violated("unaccepted_is_never_published", format!("{name} {} is bad", about.generation));
        }
        if !pair {
            self.watcher.violated("what_is_published_is_a_pair", format!("{name} {}", about.generation));
        }
        let wanted = ledger.want.as_ref().map(|want| want.on(node).generation);
        // What is decided while a step begins comes too late for it; its epoch says that it is the older one.
        let before = self.watcher.wanted_before.get(name).filter(|(at, _)| *at == self.mono);
        let just_before = before.is_some_and(|(_, want)| want.on(node).generation == about.generation);
        if wanted != Some(about.generation) && !just_before {
            self.watcher.violated("only_what_is_wanted_is_published", format!("{name} {} on {node}", about.generation));
        }
    }

    /// No reload is started while this process switches files on the node.
    pub(crate) fn about_to_reload(&mut self, node: &NodeName, pid: u32) {
        let switching = self.node(node).switching.clone();
        if switching.contains(&pid) {
            self.watcher.violated("no_reload_while_switching", node.to_string());
        } else if !switching.is_empty() {
            self.count("reload", "while another process switches");
        }
    }

    /// Nothing is pruned that a node serves or has on its disk, where anybody can tell: behind a balancer nobody can.
    pub(crate) fn about_to_prune(&mut self, name: &CertName, generation: GenId) {
        let watched = self.watched(name);
        let in_use = self.nodes.iter().filter(|(node, _)| watched.contains(*node)).find(|(_, node)| {
            let site = node.sites.get(name);
            let loaded = site.and_then(|site| site.loaded.as_ref()?.generation);
            let disk = site.and_then(|site| site.disk.as_ref()?.generation);
            loaded == Some(generation) || disk == Some(generation)
        });
        if let Some(node) = in_use.map(|(node, _)| node.clone()) {
            self.watcher.violated("nothing_pruned_that_a_node_serves", format!("{name} {generation} on {node}"));
        }
    }

    /// The nodes of a certificate that have an endpoint of their own, which is looked at.
    pub(super) fn watched(&self, name: &CertName) -> BTreeSet<NodeName> {
        let certificate = self.spec.certificates.get(name).filter(|it| it.confirm != Confirm::None);
        certificate.into_iter().flat_map(|it| &it.endpoints).filter_map(|endpoint| endpoint.node.clone()).collect()
    }

    pub(crate) fn looked(
        &mut self,
        name: &CertName,
        endpoint: &Endpoint,
        leaf: Fingerprint,
        began: u64,
        handshakes: u32,
    ) {
        let looks = self.watcher.looks.entry(name.clone()).or_default();
        // A glance proves nothing and takes nothing away; anything else than what was wanted starts the count anew.
        if handshakes == 0 {
            looks.iter_mut().filter(|look| look.endpoint == *endpoint).for_each(|look| look.doubted = true);
        }
        if handshakes > 1 {
            looks.retain(|look| look.endpoint != *endpoint);
            looks.push(Looked { endpoint: endpoint.clone(), leaf, began, handshakes, doubted: false });
        }
    }

    /// What was seen is written down: what it contradicts proves nothing any more.
    pub(crate) fn sightings_are_durable(&mut self, name: &CertName) {
        if let Some(looks) = self.watcher.looks.get_mut(name) {
            looks.retain(|look| !look.doubted);
        }
    }
}
