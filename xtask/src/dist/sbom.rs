//! A list of the components of a release (SBOM) in CycloneDX 1.5.

use std::path::Path;

use anyhow::{Context, Result, bail};
use cyclonedx_bom::external_models::uri::Uri;
use cyclonedx_bom::models::component::{Classification, Component as Entry, Components};
use cyclonedx_bom::models::dependency::{Dependencies, Dependency};
use cyclonedx_bom::models::external_reference::{
    ExternalReference, ExternalReferenceType, ExternalReferences,
};
use cyclonedx_bom::models::hash::{Hash, HashAlgorithm, HashValue, Hashes};
use cyclonedx_bom::models::license::{LicenseChoice, Licenses};
use cyclonedx_bom::models::metadata::Metadata;
use cyclonedx_bom::prelude::{Bom, DateTime, NormalizedString, Purl, SpdxExpression, SpecVersion, Validate};

use super::Release;
use super::components::Component;
use super::origin::Origin;

/// Writes the list of `components` to `path`.
///
/// # Errors
/// When the list breaks a rule of the format, or cannot be written.
pub fn write(release: &Release, components: &[Component], origin: &Origin, path: &Path) -> Result<()> {
    super::write(path, json(release, components, origin.date)?)
}

fn json(release: &Release, components: &[Component], date: u64) -> Result<Vec<u8>> {
    let (name, version) = (release.program.package(), env!("CARGO_PKG_VERSION"));
    let mut program = Entry::new(Classification::Application, name, version, Some("program".into()));
    program.licenses = Some(licence("MIT OR Apache-2.0"));
    let metadata =
        Metadata { timestamp: Some(timestamp(date)?), component: Some(program), ..Metadata::default() };
    let entries: Result<Vec<_>> = components.iter().map(entry).collect();
    let mut dependencies = vec![Dependency {
        dependency_ref: "program".into(),
        dependencies: components.iter().map(Component::reference).collect(),
    }];
    dependencies.extend(components.iter().map(|component| Dependency {
        dependency_ref: component.reference(),
        dependencies: component.needs.clone(),
    }));
    let bom = Bom {
        // A random one would make the archive another with each build.
        serial_number: None,
        metadata: Some(metadata),
        components: Some(Components(entries?)),
        dependencies: Some(Dependencies(dependencies)),
        spec_version: SpecVersion::V1_5,
        ..Bom::default()
    };
    let checked = bom.validate_version(SpecVersion::V1_5);
    if !checked.passed() {
        bail!("list of components: breaks CycloneDX 1.5: {:?}", checked.errors().collect::<Vec<_>>());
    }
    let mut json = Vec::new();
    bom.output_as_json_v1_5(&mut json).context("list of components")?;
    json.push(b'\n');
    Ok(json)
}

fn entry(component: &Component) -> Result<Entry> {
    let Component { name, version, kind, .. } = component;
    let mut entry = Entry::new(Classification::Library, name, version, Some(component.reference()));
    entry.licenses = component.licence.as_deref().map(licence);
    entry.purl =
        Some(Purl::new(kind, name, version).with_context(|| format!("package URL of {name} {version}"))?);
    let authors = component.authors.join(", ");
    entry.author = (!authors.is_empty()).then(|| NormalizedString::new(&authors));
    if component.sha256.is_some() {
        entry.description =
            Some(NormalizedString::new("The digest is that of the wheel from which the files come"));
    }
    entry.hashes = component
        .sha256
        .as_ref()
        .map(|sha256| Hashes(vec![Hash { alg: HashAlgorithm::SHA_256, content: HashValue(sha256.clone()) }]));
    entry.external_references = component.repository.as_deref().map(|repository| {
        ExternalReferences(vec![ExternalReference::new(ExternalReferenceType::Vcs, Uri::new(repository))])
    });
    Ok(entry)
}

fn licence(expression: &str) -> Licenses {
    Licenses(vec![LicenseChoice::Expression(SpdxExpression::new(expression))])
}

fn timestamp(seconds: u64) -> Result<DateTime> {
    let seconds = i64::try_from(seconds).context("date of the build")?;
    let time = jiff::Timestamp::from_second(seconds).context("date of the build")?;
    DateTime::try_from(time.to_string()).context("date of the build")
}
