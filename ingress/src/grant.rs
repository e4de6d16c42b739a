//! What an authenticated sender may write: for which tenants, which types, sources and classes.
//!
//! Decided for each event, since a batch may mix them. What is refused is named by its kind, never by
//! what would have been allowed.

use std::sync::Arc;

use shared::config::{RateBound, Scopes};
use shared::position::Class;
use shared::route::{Router, matched};
use shared::tenant::TenantId;

use crate::fixed_limits::{Quota, RequestLimit};
use crate::reject::Reject;
use crate::violation::Violations;

/// The rights of one key or certificate.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    scopes: Scopes,
    limit: Option<Arc<RequestLimit>>,
}

impl Grant {
    /// The configured rights. What the credential has used of its requests is kept over a reload
    /// that leaves the bound as it was.
    pub fn new(scopes: &Scopes, rate: Option<RateBound>, before: Option<&Self>) -> Self {
        let used = before.and_then(|before| before.limit.clone());
        let limit = rate.map(|bound| {
            used.filter(|limit| limit.bound() == bound)
                .unwrap_or_else(|| Arc::new(RequestLimit::new(bound)))
        });
        Self { scopes: scopes.clone(), limit }
    }

    /// The rights of anybody, where no credential is asked for: every tenant.
    pub fn of_anybody(tenant: TenantId) -> Self {
        let scopes = Scopes { tenants: vec!["*".to_owned()], ..Scopes::of(tenant) };
        Self { scopes, limit: None }
    }

    /// Takes one of its requests. `Some`: little is left, and the sender should know.
    pub fn take(&self) -> Result<Option<Quota>, Reject> {
        self.limit.as_ref().map_or(Ok(None), |limit| limit.take())
    }

    /// Whose event it is, by what it says itself.
    pub fn tenant(&self, named: Option<&str>) -> Result<TenantId, Reject> {
        match (named, self.scopes.tenant) {
            (None, Some(own)) => Ok(own),
            (None, None) => {
                Err(violation("required", "\"tenant\" is required: the key writes for several"))
            }
            (Some(name), Some(own)) if name == own.as_str() => Ok(own),
            (Some(name), _) if any(&self.scopes.tenants, name) => TenantId::parse(name)
                .map_err(|_| violation("pattern", "a tenant is 1 to 64 of A-Z a-z 0-9 . _ -")),
            (Some(_), _) => Err(Reject::TenantForbidden),
        }
    }

    /// Whose events they are that name no tenant.
    pub const fn own_tenant(&self) -> Option<TenantId> {
        self.scopes.tenant
    }

    /// Whether it may write for one of these tenants.
    pub fn may_write_for(&self, tenants: &[TenantId]) -> bool {
        let Scopes { tenant: own, tenants: others, .. } = &self.scopes;
        tenants.iter().any(|one| *own == Some(*one) || any(others, one.as_str()))
    }

    /// Whether it may write events of this class, as far as its rights tell.
    pub fn may_write_class(&self, class: Class, router: &Router) -> bool {
        let Scopes { classes, types, .. } = &self.scopes;
        let whole = types.iter().all(|one| !one.ends_with('*'));
        let by_type =
            types.is_empty() || !whole || types.iter().any(|one| router.class(one) == class);
        router.has_class(class) && by_type && (classes.is_empty() || classes.contains(&class))
    }

    /// Whether it may write events of this type.
    pub fn check_type(&self, event_type: &str) -> Result<(), Reject> {
        let types = &self.scopes.types;
        if types.is_empty() || any(types, event_type) { Ok(()) } else { Err(Reject::TypeForbidden) }
    }

    /// Whether it may write an event of this type and source.
    pub fn check(&self, event_type: &str, source: &str, router: &Router) -> Result<(), Reject> {
        let scopes = &self.scopes;
        self.check_type(event_type)?;
        if !scopes.sources.is_empty() && !any(&scopes.sources, source) {
            return Err(Reject::SourceForbidden);
        }
        if !scopes.classes.is_empty() && !scopes.classes.contains(&router.class(event_type)) {
            return Err(Reject::ClassForbidden);
        }
        Ok(())
    }
}

fn any(patterns: &[String], text: &str) -> bool {
    patterns.iter().any(|pattern| matched(pattern, text).is_some())
}

fn violation(keyword: &str, message: &str) -> Reject {
    let mut violations = Violations::default();
    violations.attribute("tenant", keyword, message);
    Reject::Envelope(Box::new(violations))
}

#[cfg(test)]
mod tests {
    use shared::position::Class;
    use shared::route::ClassRule;

    use super::*;

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn tenants() {
        let acme = TenantId::parse("acme").ok();
        let check = |own, tenants: &[&str], named, expected: Result<&str, &str>| {
            let scopes = Scopes { tenant: own, tenants: texts(tenants), ..Scopes::default() };
            let found = Grant::new(&scopes, None, None).tenant(named);
            let found = found.as_ref().map(TenantId::as_str).map_err(|reject| reject.row().code);
            assert_eq!(found, expected, "{own:?} {tenants:?} {named:?}");
        };
        check(acme, &[], None, Ok("acme"));
        check(acme, &[], Some("acme"), Ok("acme"));
        check(acme, &[], Some("acm"), Err("tenant_forbidden"));
        check(acme, &[], Some(""), Err("tenant_forbidden"));
        check(acme, &["globex", "team-*"], None, Ok("acme"));
        check(acme, &["globex", "team-*"], Some("globex"), Ok("globex"));
        check(acme, &["globex", "team-*"], Some("team-1"), Ok("team-1"));
        check(acme, &["globex", "team-*"], Some("teams"), Err("tenant_forbidden"));
        check(acme, &["team-*"], Some("team-a b"), Err("invalid_envelope"));
        check(None, &["*"], None, Err("invalid_envelope"));
        check(None, &["*"], Some("anyone"), Ok("anyone"));
        check(None, &["*"], Some(""), Err("invalid_envelope"));
    }

    #[test]
    fn scopes() {
        let rules = vec![ClassRule { pattern: "metrics.*".to_owned(), class: Class::Telemetry }];
        let router = Router::new([1; 3], rules);
        let open = Scopes::default();
        let check = |scopes: &Scopes, event_type, source, expected: Result<(), &str>| {
            let found = Grant::new(scopes, None, None).check(event_type, source, &router);
            let found = found.map_err(|reject| reject.row().code);
            assert_eq!(found, expected, "{scopes:?} {event_type} {source}");
        };
        check(&open, "order.paid", "/", Ok(()));
        let types = Scopes { types: texts(&["order.*", "cart"]), ..open.clone() };
        check(&types, "order.paid", "/", Ok(()));
        check(&types, "cart", "/", Ok(()));
        check(&types, "carts", "/", Err("type_forbidden"));
        check(&types, "orders.paid", "/", Err("type_forbidden"));
        let sources = Scopes { sources: texts(&["https://shop/*"]), ..open.clone() };
        check(&sources, "order.paid", "https://shop/1", Ok(()));
        check(&sources, "order.paid", "/", Err("source_forbidden"));
        let classes = Scopes { classes: vec![Class::Telemetry], ..open };
        check(&classes, "metrics.cpu", "/", Ok(()));
        check(&classes, "order.paid", "/", Err("class_forbidden"));
    }

    #[test]
    fn a_reload_refills_no_bucket() {
        let one = std::num::NonZeroU32::MIN;
        let rate = Some(RateBound { requests_per_s: one, burst: one });
        let scopes = Scopes::default();
        let first = Grant::new(&scopes, rate, None);
        let code = |grant: &Grant| grant.take().map_err(|reject| reject.row().code).err();
        assert_eq!((code(&first), code(&first)), (None, Some("rate_limited")));
        let second = Grant::new(&scopes, rate, Some(&first));
        assert_eq!(code(&second), Some("rate_limited"));
        let wider = Some(RateBound { requests_per_s: one, burst: one.saturating_add(1) });
        assert_eq!(code(&Grant::new(&scopes, wider, Some(&second))), None);
        assert_eq!(code(&Grant::new(&scopes, None, Some(&second))), None);
    }
}
