//! Certificate: digests and reference outputs of an exported model, stored inside the file.
//!
//! It is JSON in the ONNX metadata under [`CERTIFICATE_KEY`]. `infer verify` recomputes it where the file is used. It finds
//! accidental changes and numerical drift. It is not a signature: whoever can change the file can write a new certificate.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use indexmap::IndexMap;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::card::{Activation, ModelCard};
use crate::onnx::WeightsDigest;
use crate::onnx::digest::sha256;
use crate::parity::Parity;
use crate::tolerance::Arithmetic;

/// Metadata key of the certificate.
pub const CERTIFICATE_KEY: &str = "ferronnx.certificate";

/// Version of the certificate's layout; a reader refuses a newer one.
pub const CERTIFICATE_FORMAT: u32 = 1;

/// Digests of a model file, and what it computed when it was exported.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Certificate {
    /// Version of the layout, [`CERTIFICATE_FORMAT`].
    pub format: u32,
    /// SHA-256 digest of each weight tensor of the exported network, and of all together.
    pub weights: WeightsDigest,
    /// Digests of the card.
    pub card: CardDigests,
    /// Largest difference of a logit to libtorch's that is allowed, relative to the largest logit.
    pub tolerance: f64,
    /// Library, version and provider that ran the file at the export.
    pub runtime: String,
    /// Comparison of the file with libtorch at the export.
    pub agreement: Parity,
    /// Device and arithmetic of both sides in that comparison; older files have none, and were compared in this way.
    #[serde(default)]
    pub compared: Compared,
    /// Images to recompute.
    pub goldens: Vec<Golden>,
}

/// Conditions of the comparison at the export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compared {
    /// Device that ran libtorch and the file.
    pub device: String,
    /// Arithmetic of both.
    pub arithmetic: Arithmetic,
}

impl Default for Compared {
    fn default() -> Self {
        Self { device: "cpu".into(), arithmetic: Arithmetic::Full }
    }
}

/// Digests of the card's content: SHA-256 in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardDigests {
    /// Digest of the labels in order.
    pub labels: String,
    /// Digest of the preprocessing and the form of the input.
    pub preprocessing: String,
    /// Digest of what the outputs mean: activation, threshold and roles; absent where all of them are the usual ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs: Option<String>,
}

impl CardDigests {
    /// Computes the digests of `card`.
    pub fn of(card: &ModelCard) -> Self {
        let digest = |json: Result<String, serde_json::Error>| {
            sha256(json.expect("a card has no map with keys other than strings").as_bytes())
        };
        let outputs = (card.activation, &card.threshold, &card.outputs);
        let is_usual = outputs == (Activation::default(), &None, &IndexMap::new());
        Self {
            labels: digest(serde_json::to_string(&card.labels)),
            preprocessing: digest(serde_json::to_string(&(&card.preprocessing, card.input))),
            outputs: (!is_usual).then(|| digest(serde_json::to_string(&outputs))),
        }
    }
}

/// Reference image with its result after preprocessing and in the network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Golden {
    /// Image file, PNG or JPEG, of any size.
    #[serde(rename = "picture")]
    pub image: Bytes,
    /// Image after decoding, resizing and cropping at the export: a PNG of the input's size.
    pub prepared: Bytes,
    /// Logits that libtorch computes for it, `[classes]`.
    pub logits: Vec<f32>,
}

/// Bytes that serialise as Base64.
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

/// Reason why a certificate cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The text is not the JSON of a certificate.
    #[error("the certificate is not readable")]
    Json(#[from] serde_json::Error),
    /// A newer version wrote the certificate.
    #[error("the certificate has format {0}, this version reads up to {CERTIFICATE_FORMAT}: update ferronnx")]
    Format(u32),
}

impl Certificate {
    /// Parses a certificate.
    ///
    /// # Errors
    /// [`CertificateError`] when the text is not a certificate, or of a newer format.
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

    /// Text of the certificate, as it is stored.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a certificate has no map with keys other than strings")
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn certificate() -> Certificate {
        Certificate {
            format: CERTIFICATE_FORMAT,
            weights: WeightsDigest { sha256: "00".into(), tensors: [("w".into(), "11".into())].into() },
            card: CardDigests { labels: "22".into(), preprocessing: "33".into(), outputs: None },
            tolerance: 1e-4,
            runtime: "ONNX Runtime".into(),
            agreement: Parity { images: 3, agreeing: 3, max_difference: 1e-6, ..Parity::default() },
            compared: Compared::default(),
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
        assert!(certificate().to_json().contains("\"picture\":\"AP8H\""));
    }

    #[test]
    fn reads_what_earlier_versions_wrote() {
        let mut json: serde_json::Value = serde_json::from_str(&certificate().to_json()).unwrap();
        assert!(json.as_object_mut().unwrap().remove("compared").is_some());
        assert!(json["agreement"].as_object_mut().unwrap().remove("rms_relative_difference").is_some());
        assert_eq!(Certificate::from_json(&json.to_string()).unwrap(), certificate());
    }

    #[test]
    fn refuses_what_it_cannot_trust() {
        let newer = certificate().to_json().replace("\"format\":1", "\"format\":2");
        assert!(matches!(Certificate::from_json(&newer), Err(CertificateError::Format(2))));
        let damaged = certificate().to_json().replace("AP8H", "A?");
        assert!(matches!(Certificate::from_json(&damaged), Err(CertificateError::Json(_))));
    }
}
