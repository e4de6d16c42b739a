//! A webhook source: where its events' attributes come from, as its configuration says.

use std::collections::HashMap;
use std::fmt;

use http::{HeaderMap, HeaderName};
use shared::config::{Extract, SourceConfig};
use shared::tenant::TenantId;
use simd_json::StaticNode;

use crate::envelope::check_text;
use crate::event::Attributes;
use crate::pointer::Pointer;
use crate::reject::Reject;
use crate::schema::{Schema, SchemaError};
use crate::tape::Item;

/// A source, ready to use.
#[derive(Debug)]
pub(crate) struct Source {
    /// What was configured.
    pub config: SourceConfig,
    id: Origin,
    event_type: Origin,
    tenant: Vec<Origin>,
    entity: Vec<Origin>,
    schemas: SourceSchemas,
}

#[derive(Debug)]
enum SourceSchemas {
    /// Any body.
    None,
    /// One for all types.
    Whole(Box<Schema>),
    /// One for each type there is.
    PerType(HashMap<String, Schema>),
}

impl Source {
    /// Loads the source's schemas.
    pub fn load(config: &SourceConfig) -> Result<Self, SchemaError> {
        let schemas = match &config.schema {
            None => SourceSchemas::None,
            Some(schema) if schema.pointers.is_empty() => {
                SourceSchemas::Whole(Box::new(Schema::load(&schema.file, "", schema.mode)?))
            }
            Some(schema) => SourceSchemas::PerType(Schema::load_each(
                &schema.file,
                &schema.pointers,
                schema.mode,
            )?),
        };
        Ok(Self {
            config: config.clone(),
            id: Origin::of(&config.id),
            event_type: Origin::of(&config.event_type),
            tenant: config.tenant.iter().map(Origin::of).collect(),
            entity: config.entity.iter().map(Origin::of).collect(),
            schemas,
        })
    }

    /// Reads the attributes, and the tenant.
    pub fn read(
        &self,
        headers: &HeaderMap,
        body: Item<'_>,
        attributes: &mut Attributes,
    ) -> Result<TenantId, Reject> {
        let mut one = |source: &Origin, prefix: &str, missing| {
            let found = source.find(headers, body)?.ok_or(Reject::Attribute(missing))?;
            let place = attributes.keep(format_args!("{prefix}{found}"));
            let found = &attributes.get(&place)[prefix.len()..];
            check_text(found).map_err(|_| Reject::Attribute(missing))?;
            Ok::<_, Reject>(place)
        };
        let id = one(&self.id, "", "the id is missing, empty or too long")?;
        let prefix = self.config.type_prefix.as_str();
        let event_type = one(&self.event_type, prefix, "the type is missing, empty or too long")?;
        let mut tenant = self.config.tenant_default;
        for origin in &self.tenant {
            let Some(found) = origin.find(headers, body)? else { continue };
            let name = attributes.keep(found);
            if let Ok(found) = TenantId::parse(attributes.get(&name)) {
                tenant = Some(found);
                break;
            }
        }
        let tenant = tenant.ok_or(Reject::Attribute("no tenant can be found"))?;
        for origin in &self.entity {
            let Some(found) = origin.find(headers, body)? else { continue };
            let subject = attributes.keep(found);
            if check_text(attributes.get(&subject)).is_ok() {
                attributes.subject = Some(subject);
                break;
            }
        }
        attributes.source = Some(attributes.keep(&self.config.source));
        (attributes.id, attributes.event_type) = (Some(id), Some(event_type));
        Ok(tenant)
    }

    /// All its schemas, each with the text that selects it; empty for one that fits all.
    pub fn schemas(&self) -> impl Iterator<Item = (&str, &Schema)> {
        let (whole, by_type) = match &self.schemas {
            SourceSchemas::None => (None, None),
            SourceSchemas::Whole(schema) => (Some(("", schema.as_ref())), None),
            SourceSchemas::PerType(schemas) => (None, Some(schemas)),
        };
        let by_type = by_type.into_iter().flatten().map(|(name, schema)| (name.as_str(), schema));
        whole.into_iter().chain(by_type)
    }

    /// The schema of a type, by its text without the prefix.
    pub fn schema(&self, event_type: &str) -> Result<Option<&Schema>, Reject> {
        let short_type = event_type.strip_prefix(&self.config.type_prefix).unwrap_or(event_type);
        match &self.schemas {
            SourceSchemas::None => Ok(None),
            SourceSchemas::Whole(schema) => Ok(Some(schema)),
            SourceSchemas::PerType(schemas) => {
                schemas.get(short_type).map(Some).ok_or(Reject::UnknownType)
            }
        }
    }
}

/// Where an attribute stands, ready to be looked up.
#[derive(Debug)]
enum Origin {
    Header(HeaderName),
    Body(Pointer),
    /// A name that no header can have.
    Nowhere,
}

/// A text, or an integer as text.
enum Found<'f> {
    Text(&'f str),
    Signed(i64),
    Unsigned(u64),
}

impl Origin {
    fn of(extract: &Extract) -> Self {
        match extract {
            Extract::Header(name) => {
                HeaderName::try_from(name.as_str()).map_or(Self::Nowhere, Self::Header)
            }
            Extract::Pointer(text) => Self::Body(Pointer::parse(text)),
        }
    }

    /// Anything but a text or an integer is not there.
    fn find<'f>(
        &self,
        headers: &'f HeaderMap,
        body: Item<'f>,
    ) -> Result<Option<Found<'f>>, Reject> {
        match self {
            Self::Header(name) => {
                let mut values = headers.get_all(name).iter();
                let value = values.next().and_then(|value| value.to_str().ok());
                if values.next().is_some() {
                    return Err(Reject::Duplicate { member: name.as_str().to_owned() });
                }
                Ok(value.map(Found::Text))
            }
            Self::Body(pointer) => {
                let Some(item) = pointer.find(body)? else { return Ok(None) };
                Ok(match (item.as_str(), item.as_static()) {
                    (Some(text), _) => Some(Found::Text(text)),
                    (_, Some(StaticNode::I64(number))) => Some(Found::Signed(number)),
                    (_, Some(StaticNode::U64(number))) => Some(Found::Unsigned(number)),
                    _ => None,
                })
            }
            Self::Nowhere => Ok(None),
        }
    }
}

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Signed(number) => number.fmt(f),
            Self::Unsigned(number) => number.fmt(f),
        }
    }
}
