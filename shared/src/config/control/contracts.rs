//! What tenants may count on, and what they may not exceed: `limits` and `[[contract]]`.

use std::collections::{BTreeMap, HashMap};

use super::super::build::decimal;
use super::super::settings::Settings;
use super::super::value::{Value, Wrong};
use super::Contract;
use crate::tenant::TenantId;

/// What every tenant has that is not named.
pub(super) fn of_everybody(settings: &mut Settings) -> Contract {
    let contract = Contract {
        contract_per_s: decimal(settings, "limits.contract_per_s"),
        ceiling_per_s: decimal(settings, "limits.ceiling_per_s"),
    };
    within(settings, contract, "limits.ceiling_per_s", "limits.contract_per_s");
    contract
}

/// What named tenants have. What an entry leaves out is everybody's: a tenant with a contract of its
/// own does not lose the ceiling.
pub(super) fn of_tenants(
    settings: &mut Settings,
    everybody: Contract,
) -> HashMap<TenantId, Contract> {
    let mut contracts = HashMap::new();
    let mut named: BTreeMap<TenantId, String> = BTreeMap::new();
    for entry in settings.entries("contract") {
        let path = format!("{entry}.tenant");
        let tenant = match settings.value(&path) {
            Some(Value::Tenant(tenant)) => *tenant,
            _ => {
                if !settings.is_faulty(&path) {
                    settings.fault(settings.origin(&entry), &path, Wrong::new("is missing"));
                }
                continue;
            }
        };
        if let Some(first) = named.get(&tenant) {
            let wrong = Wrong {
                message: format!("`{tenant}` has another contract"),
                hint: Some(format!("the first is {first}, at {}", settings.origin(first))),
            };
            settings.fault(settings.origin(&path), &path, wrong);
            continue;
        }
        named.insert(tenant, path);
        contracts.insert(tenant, contract(settings, &entry, everybody));
    }
    contracts
}

fn contract(settings: &mut Settings, entry: &str, everybody: Contract) -> Contract {
    let paths = ["contract_per_s", "ceiling_per_s"].map(|member| format!("{entry}.{member}"));
    let [contract_per_s, ceiling_per_s] = paths.each_ref().map(|path| decimal(settings, path));
    let faulty = paths.iter().any(|path| settings.is_faulty(path));
    if contract_per_s.is_none() && ceiling_per_s.is_none() && !faulty {
        let wrong = Wrong {
            message: "says nothing".to_owned(),
            hint: Some("give `contract_per_s`, `ceiling_per_s` or both".to_owned()),
        };
        settings.fault(settings.origin(entry), entry, wrong);
    }
    let contract = Contract {
        contract_per_s: contract_per_s.or(everybody.contract_per_s),
        ceiling_per_s: ceiling_per_s.or(everybody.ceiling_per_s),
    };
    let [own_contract, own_ceiling] = paths;
    let ceiling = ceiling_per_s.map_or("limits.ceiling_per_s".to_owned(), |_| own_ceiling);
    let promised = contract_per_s.map_or("limits.contract_per_s".to_owned(), |_| own_contract);
    if contract_per_s.is_some() || ceiling_per_s.is_some() {
        within(settings, contract, &ceiling, &promised);
    }
    contract
}

/// A ceiling below the contract would break a promise with a 429.
fn within(settings: &mut Settings, contract: Contract, ceiling: &str, promised: &str) {
    let (Some(contract_per_s), Some(ceiling_per_s)) =
        (contract.contract_per_s, contract.ceiling_per_s)
    else {
        return;
    };
    super::super::relations::relation(
        settings,
        &[ceiling, promised],
        ceiling_per_s >= contract_per_s,
        || format!("{ceiling_per_s} has to be at least `{promised}`, which is {contract_per_s}"),
    );
}
