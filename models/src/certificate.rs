//! The certificate: what a file is, and what it computed when it was exported, carried inside the file.
//!
//! It travels as JSON in the ONNX metadata under [`CERTIFICATE_KEY`]. `infer verify` recomputes it where the file is
//! used. It finds accidents and drift; it is no signature, and whoever can change the file can write another.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::card::ModelCard;
use crate::onnx::WeightsDigest;
use crate::onnx::digest::sha256;
use crate::parity::Parity;

/// Metadata key of the certificate.
pub const CERTIFICATE_KEY: &str = "ferronnx.certificate";

/// Version of the certificate's own layout; a reader refuses a newer one.
pub const CERTIFICATE_FORMAT: u32 = 1;

/// What a file is, and what it computed when it was exported.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Certificate {
    /// Layout version, [`CERTIFICATE_FORMAT`].
    pub format: u32,
    /// Digest of the weights.
    pub weights: WeightsDigest,
    /// Digests of what the card says.
    pub card: CardDigests,
    /// Largest difference of a logit to libtorch's, relative to the largest logit, that was allowed.
    pub tolerance: f64,
    /// What ran the file when it was exported: library, version, provider.
    pub runtime: String,
    /// How the file compared with libtorch on the exporter's images.
    pub agreement: Parity,
    /// Images to compute again.
    pub goldens: Vec<Golden>,
}

/// Digests of what the card says: SHA-256 in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardDigests {
    /// Of the labels in their order.
    pub labels: String,
    /// Of the preprocessing and the form of the input.
    pub preprocessing: String,
}

impl CardDigests {
    /// Of `card`.
    pub fn of(card: &ModelCard) -> Self {
        let digest = |json: Result<String, serde_json::Error>| {
            sha256(json.expect("a card has no map with keys other than strings").as_bytes())
        };
        Self {
            labels: digest(serde_json::to_string(&card.labels)),
            preprocessing: digest(serde_json::to_string(&(&card.preprocessing, card.input))),
        }
    }
}

/// An image at every step of its way through the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Golden {
    /// An image file: PNG or JPEG, of any size.
    #[serde(rename = "picture")]
    pub image: Bytes,
    /// What decoding, resizing and cropping made of it when the file was exported: a PNG of the input's size.
    pub prepared: Bytes,
    /// What libtorch makes of that, `[classes]`.
    pub logits: Vec<f32>,
}

/// Bytes that are stored as Base64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64_STANDARD.decode(text).map(Self).map_err(D::Error::custom)
    }
}

/// Why a certificate cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// Not the JSON of a certificate.
    #[error("the certificate is not readable: {0}")]
    Json(#[from] serde_json::Error),
    /// Written by a newer version.
    #[error("the certificate has format {0}, this version reads up to {CERTIFICATE_FORMAT}: update ferronnx")]
    Format(u32),
}

impl Certificate {
    /// Reads a certificate.
    pub fn from_json(text: &str) -> Result<Self, CertificateError> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let found = serde_json::from_str::<Version>(text)?.format;
        if found > CERTIFICATE_FORMAT {
            return Err(CertificateError::Format(found));
        }
        Ok(serde_json::from_str(text)?)
    }

    /// The certificate as it is stored.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a certificate has no map with keys other than strings")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate() -> Certificate {
        Certificate {
            format: CERTIFICATE_FORMAT,
            weights: WeightsDigest { sha256: "00".into(), tensors: [("w".into(), "11".into())].into() },
            card: CardDigests { labels: "22".into(), preprocessing: "33".into() },
            tolerance: 1e-4,
            runtime: "ONNX Runtime".into(),
            agreement: Parity { images: 3, agreeing: 3, max_difference: 1e-6, ..Parity::default() },
            goldens: vec![Golden {
                image: Bytes(vec![0, 255, 7]),
                prepared: Bytes(vec![1]),
                logits: vec![0.1, -3.4e-38],
            }],
        }
    }

    #[test]
    fn survives_a_round_trip() {
        assert_eq!(Certificate::from_json(&certificate().to_json()).unwrap(), certificate());
        assert!(certificate().to_json().contains("\"image\":\"AP8H\""));
    }

    #[test]
    fn refuses_what_it_cannot_trust() {
        let newer = certificate().to_json().replace("\"format\":1", "\"format\":2");
        assert!(matches!(Certificate::from_json(&newer), Err(CertificateError::Format(2))));
        let damaged = certificate().to_json().replace("AP8H", "A?");
        assert!(matches!(Certificate::from_json(&damaged), Err(CertificateError::Json(_))));
    }
}
