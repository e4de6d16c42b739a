//! A webhook source: where its events' attributes come from, as its configuration says.

use std::collections::HashMap;

use http::HeaderMap;
use shared::config::{Extract, SourceConfig};
use shared::tenant::TenantId;
use simd_json::StaticNode;

use crate::envelope::check_text;
use crate::event::Attributes;
use crate::pointer;
use crate::reject::Reject;
use crate::schema::{Schema, SchemaError};
use crate::tape::Item;

/// A source, ready to use.
#[derive(Debug)]
pub(crate) struct Source {
    /// What was configured.
    pub config: SourceConfig,
    schemas: SourceSchemas,
}

#[derive(Debug)]
enum SourceSchemas {
    /// Any body.
    None,
    /// One for all types.
    Whole(Schema),
    /// One for each type there is.
    PerType(HashMap<String, Schema>),
}

impl Source {
    /// Loads the source's schemas.
    pub fn load(config: &SourceConfig) -> Result<Self, SchemaError> {
        let schemas = match &config.schema {
            None => SourceSchemas::None,
            Some(schema) if schema.pointers.is_empty() => {
                SourceSchemas::Whole(Schema::load(&schema.file, "", schema.mode)?)
            }
            Some(schema) => SourceSchemas::PerType(Schema::load_each(
                &schema.file,
                &schema.pointers,
                schema.mode,
            )?),
        };
        Ok(Self { config: config.clone(), schemas })
    }

    /// Reads the attributes and the tenant.
    pub fn attributes(
        &self,
        headers: &HeaderMap,
        body: Item<'_>,
    ) -> Result<(TenantId, Attributes, String), Reject> {
        let config = &self.config;
        let one = |place: &Extract, missing| {
            let found = extract(place, headers, body)?;
            let found = found.ok_or(Reject::Attribute(missing))?;
            check_text(&found).map_err(|_| Reject::Attribute(missing))?;
            Ok::<_, Reject>(found)
        };
        let id = one(&config.id, "the id is missing, empty or too long")?;
        let short_type = one(&config.event_type, "the type is missing, empty or too long")?;
        let mut tenant = config.tenant_default;
        for place in &config.tenant {
            let found = extract(place, headers, body)?;
            if let Some(found) = found.and_then(|name| TenantId::parse(&name).ok()) {
                tenant = Some(found);
                break;
            }
        }
        let tenant = tenant.ok_or(Reject::Attribute("no tenant can be found"))?;
        let mut subject = None;
        for place in &config.entity {
            subject = extract(place, headers, body)?.filter(|found| check_text(found).is_ok());
            if subject.is_some() {
                break;
            }
        }
        let attributes = Attributes {
            id: Some(id),
            event_type: format!("{}{short_type}", config.type_prefix),
            source: Some(config.source.clone()),
            subject,
            ..Attributes::default()
        };
        Ok((tenant, attributes, short_type))
    }

    /// The schema of a type, by the text that was extracted.
    pub fn schema(&self, short_type: &str) -> Result<Option<&Schema>, Reject> {
        match &self.schemas {
            SourceSchemas::None => Ok(None),
            SourceSchemas::Whole(schema) => Ok(Some(schema)),
            SourceSchemas::PerType(schemas) => {
                schemas.get(short_type).map(Some).ok_or(Reject::UnknownType)
            }
        }
    }
}

/// A text, or an integer as text; anything else is not there.
fn extract(place: &Extract, headers: &HeaderMap, body: Item<'_>) -> Result<Option<String>, Reject> {
    match place {
        Extract::Header(name) => {
            let value = headers.get(name.as_str()).and_then(|value| value.to_str().ok());
            Ok(value.map(str::to_owned))
        }
        Extract::Pointer(place) => {
            let Some(item) = pointer::find(body, place)? else { return Ok(None) };
            Ok(match (item.as_str(), item.as_static()) {
                (Some(text), _) => Some(text.to_owned()),
                (_, Some(StaticNode::I64(number))) => Some(number.to_string()),
                (_, Some(StaticNode::U64(number))) => Some(number.to_string()),
                _ => None,
            })
        }
    }
}
