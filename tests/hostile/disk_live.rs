//! What servers read was meddled with.

use crate::disk::{Case, Site};

const LIVE: [Case; 17] = [
    Case::new("data-dangling", 0, |site| site.shell("ln -sfn ..gen-0009-00000000 live/shop/..data")),
    Case::new("data-missing", 0, |site| site.shell("rm live/shop/..data")),
    Case::new("data-is-a-file", 0, |site| site.shell("rm live/shop/..data; echo mine >live/shop/..data")),
    Case::new("data-is-a-directory", 0, |site| {
        site.shell("rm live/shop/..data; mkdir live/shop/..data; echo mine >live/shop/..data/note");
    }),
    Case::new("data-leads-outside", 0, |site| {
        site.shell("mkdir elsewhere; echo mine >elsewhere/note; ln -sfn ../../elsewhere live/shop/..data");
    })
    .mend(|site| site.shell("test -e elsewhere/note; rm -r elsewhere")),
    Case::new("live-is-a-link", 20, |site| site.shell("mv live/shop moved; ln -s ../moved live/shop"))
        .mend(|site| site.shell("rm live/shop; mv moved live/shop")),
    Case::new("files-of-another-client", 0, |site| {
        site.shell(
            "cd live/shop; for it in cert chain fullchain privkey bundle; do \
             cp --remove-destination \"$(readlink -f $it.pem)\" $it.pem; done; rm -r ..data ..gen-*",
        );
    }),
    Case::new("directory-for-a-key", 0, |site| {
        site.shell("rm live/shop/privkey.pem; mkdir live/shop/privkey.pem; echo mine >live/shop/privkey.pem/note");
    }),
    Case::new("foreign-generations", 0, |site| {
        site.shell("cd live/shop; mkdir ..gen-foreign ..gen-0042-deadbeef ..tmp-1-1; echo x >..tmp-1-2; touch ..gen-x");
    }),
    Case::new("certificate-is-garbage", 0, |site| {
        site.shell("echo garbage >live/shop/cert.pem; echo x >live/shop/fullchain.pem");
    }),
    Case::new("key-of-somebody-else", 0, |site| {
        site.shell("openssl genpkey -algorithm ed25519 -out live/shop/privkey.pem 2>/dev/null");
    }),
    Case::new("chain-is-gone", 0, |site| {
        site.shell("cp live/shop/cert.pem live/shop/fullchain.pem; >live/shop/chain.pem");
    }),
    Case::new("key-readable-by-all", 0, |site| site.shell("chmod 0644 live/shop/privkey.pem")),
    Case::new("generation-removed", 0, |site| site.shell("rm -r live/shop/..gen-*")),
    Case::new("live-removed", 0, |site| site.shell("rm -r live")),
    Case::new("live-shop-removed", 0, |site| site.shell("rm -r live/shop")),
    Case::new("live-is-a-file", 20, |site| site.shell("rm -r live; echo mine >live"))
        .mend(|site| site.shell("rm live")),
];

#[test]
fn a_live_directory_that_was_meddled_with_is_mended_and_servers_are_told() {
    Site::new(|_| String::new()).play_all(&LIVE);
}
