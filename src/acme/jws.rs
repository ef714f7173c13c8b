//! The account key and what it signs: ES256 over flattened JSON (RFC 7515, RFC 8555 §6.2), and the external account
//! binding's HS256 (RFC 8555 §7.3.4).
//!
//! instant-acme signs orders. This signs what it cannot: a registration whose key is already on disk, and requests that
//! run side by side.

use crate::types::{Class, Failure, Secret};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// An account's P-256 key.
pub(super) struct AccountKey {
    pair: EcdsaKeyPair,
    pkcs8: Zeroizing<Vec<u8>>,
}

/// How a request says who signed it (RFC 8555 §6.2).
#[derive(Clone, Copy)]
pub(super) enum SignedAs<'a> {
    /// By the key itself: `newAccount`.
    Key,
    /// By the account's URL: everything else.
    Account(&'a str),
}

impl AccountKey {
    /// A new key, as it is stored: PKCS#8 DER in base64url.
    pub(super) fn generate() -> Result<Secret, Failure> {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
            .map_err(|_| broken("no account key can be generated"))?;
        Ok(Secret::new(BASE64URL_NOPAD.encode(pkcs8.as_ref())))
    }

    /// Reads a stored key.
    pub(super) fn read(stored: &Secret) -> Result<Self, Failure> {
        let pkcs8 = BASE64URL_NOPAD
            .decode(stored.reveal().as_bytes())
            .map(Zeroizing::new)
            .map_err(|_| broken("the stored key is not base64url"))?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8)
            .map_err(|_| broken("the stored key is not a P-256 key in PKCS#8"))?;
        Ok(Self { pair, pkcs8 })
    }

    /// PKCS#8 DER, for instant-acme.
    pub(super) fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// RFC 7638, base64url.
    pub(super) fn thumbprint(&self) -> String {
        let (x, y) = self.point();
        let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        BASE64URL_NOPAD.encode(digest(&SHA256, canonical.as_bytes()).as_ref())
    }

    /// The public key (RFC 7517).
    pub(super) fn jwk(&self) -> Value {
        let (x, y) = self.point();
        json!({"crv": "P-256", "kty": "EC", "x": x, "y": y})
    }

    /// A signed request body. `payload` is `None` for POST-as-GET (RFC 8555 §6.3).
    pub(super) fn sign(
        &self,
        signed_as: SignedAs<'_>,
        nonce: &str,
        url: &str,
        payload: Option<&Value>,
    ) -> Result<Vec<u8>, Failure> {
        let protected = match signed_as {
            SignedAs::Key => json!({"alg": "ES256", "jwk": self.jwk(), "nonce": nonce, "url": url}),
            SignedAs::Account(kid) => json!({"alg": "ES256", "kid": kid, "nonce": nonce, "url": url}),
        };
        let (protected, payload) = (encode(&protected), payload.map(encode).unwrap_or_default());
        let signature = self
            .pair
            .sign(&SystemRandom::new(), format!("{protected}.{payload}").as_bytes())
            .map_err(|_| broken("the account key cannot sign"))?;
        Ok(flattened(&protected, &payload, signature.as_ref()).to_string().into_bytes())
    }

    fn point(&self) -> (String, String) {
        // An uncompressed point: 0x04, then x and y of 32 octets each.
        let point = self.pair.public_key().as_ref();
        let (x, y) = point.get(1..).unwrap_or_default().split_at_checked(32).unwrap_or_default();
        (BASE64URL_NOPAD.encode(x), BASE64URL_NOPAD.encode(y))
    }
}

/// The external account binding for `jwk` (RFC 8555 §7.3.4). `mac_key` is base64url, with or without padding.
pub(super) fn external_account_binding(
    jwk: &Value,
    kid: &str,
    mac_key: &Secret,
    new_account: &str,
) -> Result<Value, Failure> {
    let text = mac_key.reveal().trim().trim_end_matches('=');
    let key = BASE64URL_NOPAD.decode(text.as_bytes()).map(Zeroizing::new).map_err(|_| {
        Failure::new(Class::Spec, "acme:externalAccountKey", kid, "the external account's MAC key is not base64url")
            .advise("Copy the key again from the CA's page, whole.")
    })?;
    let protected = encode(&json!({"alg": "HS256", "kid": kid, "url": new_account}));
    let payload = encode(jwk);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), format!("{protected}.{payload}").as_bytes());
    Ok(flattened(&protected, &payload, tag.as_ref()))
}

fn flattened(protected: &str, payload: &str, signature: &[u8]) -> Value {
    json!({"protected": protected, "payload": payload, "signature": BASE64URL_NOPAD.encode(signature)})
}

fn encode(value: &Value) -> String {
    BASE64URL_NOPAD.encode(value.to_string().as_bytes())
}

fn broken(why: &str) -> Failure {
    Failure::new(Class::Operator, "acme:accountKey", "account key", why)
        .advise("Restore the account's credentials from a backup; a new account is made only when there are none.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

    /// The key of RFC 7515 §A.3, wrapped as PKCS#8.
    fn rfc7515_key() -> AccountKey {
        let (x, y) = ("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0");
        let decode = |text: &str| BASE64URL_NOPAD.decode(text.as_bytes()).expect("base64url");
        let mut der = decode("MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg");
        der.extend(decode("jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"));
        der.extend([0xa1, 0x44, 0x03, 0x42, 0x00, 0x04]);
        der.extend([decode(x), decode(y)].concat());
        AccountKey::read(&Secret::new(BASE64URL_NOPAD.encode(&der))).expect("a key")
    }

    #[test]
    fn the_public_key_and_its_thumbprint() {
        let key = rfc7515_key();
        assert_eq!(key.jwk()["x"], "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU");
        assert_eq!(key.jwk()["y"], "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0");
        // printf '{"crv":"P-256","kty":"EC","x":…,"y":…}' | openssl dgst -sha256 -binary | basenc --base64url
        assert_eq!(key.thumbprint(), "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U");
    }

    #[test]
    fn a_signature_verifies_over_what_was_sent() {
        let key = rfc7515_key();
        let body = key.sign(SignedAs::Account("https://ca.test/1"), "n0", "https://ca.test/o", None).expect("signed");
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        let part = |name: &str| body[name].as_str().expect("a text").to_owned();
        assert_eq!(part("payload"), "", "POST-as-GET");
        let protected = BASE64URL_NOPAD.decode(part("protected").as_bytes()).expect("base64url");
        let protected: Value = serde_json::from_slice(&protected).expect("JSON");
        let expected = json!({"alg": "ES256", "kid": "https://ca.test/1", "nonce": "n0", "url": "https://ca.test/o"});
        assert_eq!(protected, expected);
        let signature = BASE64URL_NOPAD.decode(part("signature").as_bytes()).expect("base64url");
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.pair.public_key().as_ref())
            .verify(format!("{}.{}", part("protected"), part("payload")).as_bytes(), &signature)
            .expect("verifies");
    }

    #[test]
    fn the_binding_is_an_hmac_over_the_public_key() {
        let key = rfc7515_key();
        // The key of RFC 7515 §A.1, once with the padding that some CAs hand out.
        let mac = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
        for mac in [mac.to_owned(), format!("{mac}==")] {
            let bound = external_account_binding(&key.jwk(), "kid-1", &Secret::new(mac), "https://ca.test/new");
            let bound = bound.expect("bound");
            let part = |name: &str| bound[name].as_str().expect("a text").to_owned();
            let payload = BASE64URL_NOPAD.decode(part("payload").as_bytes()).expect("base64url");
            assert_eq!(serde_json::from_slice::<Value>(&payload).expect("JSON"), key.jwk());
            let signed = format!("{}.{}", part("protected"), part("payload"));
            let mac = BASE64URL_NOPAD
                .decode(b"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow")
                .expect("base64url");
            let tag = BASE64URL_NOPAD.decode(part("signature").as_bytes()).expect("base64url");
            hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, &mac), signed.as_bytes(), &tag).expect("verifies");
        }
        let bad = external_account_binding(&key.jwk(), "kid-1", &Secret::new("not base64!".into()), "https://ca.test");
        assert_eq!(bad.expect_err("refused").class, Class::Spec);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for bad in ["", "AAAA", "%"] {
            assert_eq!(AccountKey::read(&Secret::new(bad.into())).map(|_| ()).expect_err(bad).code, "acme:accountKey");
        }
        let made = AccountKey::generate().expect("a key");
        assert_eq!(AccountKey::read(&made).expect("reads back").thumbprint().len(), 43);
    }
}
