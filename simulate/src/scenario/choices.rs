//! The words that a scenario chooses among.

use serde::Deserialize;

macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }
    };
}

choice! {
    /// By what consumers are scaled.
    Scale {
        /// Not at all.
        None,
        /// Offered demand and backlog.
        Demand,
        /// The paper: doubled at 30 s of lag.
        Lag,
        /// Use of the processor, 70 %.
        Cpu,
    }
}
choice! {
    /// Topics.
    Topology {
        /// One for all classes.
        Shared,
        /// One per class.
        PerClass,
    }
}
choice! {
    /// Rules.
    Rule {
        /// The loop.
        Ours,
        /// No limit.
        None,
        /// A fixed one.
        Static,
        /// The paper's probability above 15 s of lag.
        Paper,
        /// The paper read kindly: lowest class first, a PID above 15 s of lag.
        PaperBest,
        /// Additive increase, multiplicative decrease.
        Aimd,
    }
}
choice! {
    /// Profiles.
    Profile {
        /// Bursts and outages wait in the log.
        Absorb,
        /// The least lag.
        BoundedLag,
    }
}
choice! {
    /// Who gives way first.
    Shed {
        /// All alike.
        Uniform,
        /// Telemetry, then transactional.
        Class,
        /// What is beyond its contract; then telemetry, then transactional; then max-min among tenants.
        Contract,
    }
}
choice! {
    /// What a replica does without a controller.
    Fallback {
        /// Keeps the last limit.
        Hold,
        /// The last limit for 10 s, then to half of the last capacity in 60 s.
        Lease,
        /// Opens.
        Open,
        /// Runs the loop itself.
        Local,
    }
}
