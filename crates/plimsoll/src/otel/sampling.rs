//! Which traces are recorded.

use super::context::Context;

/// OpenTelemetry's variable for the way of choosing.
pub(crate) const SAMPLER: &str = "OTEL_TRACES_SAMPLER";

/// OpenTelemetry's variable for the share, where the way of choosing has one.
pub(crate) const SAMPLER_ARG: &str = "OTEL_TRACES_SAMPLER_ARG";

/// Which traces are recorded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sampling {
    /// The share that is taken of traces that nobody has decided about, from 0 to 1.
    share: f64,
    /// Whether a trace is taken if the client's span is, and not taken if that is not.
    follows_clients: bool,
}

impl Sampling {
    /// Every trace, whatever clients say.
    pub(crate) const ALWAYS: Self = Self {
        share: 1.0,
        follows_clients: false,
    };

    /// None, whatever clients say.
    const NEVER: Self = Self {
        share: 0.0,
        follows_clients: false,
    };

    /// Knative's `samplingRate`: 1 and more is all, 0 and less is none, whatever clients say. In between it is the share
    /// of traces that begin here.
    pub(crate) fn of_rate(rate: f64) -> Self {
        if rate >= 1.0 {
            Self::ALWAYS
        } else if rate > 0.0 {
            Self {
                share: rate,
                follows_clients: true,
            }
        } else {
            Self::NEVER
        }
    }

    /// What OpenTelemetry's variables say, or else Knative's `rate`. A share without a way of choosing is in the place of
    /// that rate.
    ///
    /// # Errors
    /// What is wrong: the variable, the value, and what is accepted.
    pub(crate) fn resolve(
        rate: f64,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, String> {
        let told = |name: &str| {
            let value = variable(name)?.trim().to_owned();
            (!value.is_empty()).then_some(value)
        };
        let share = told(SAMPLER_ARG).map(|text| share(&text)).transpose()?;
        let Some(sampler) = told(SAMPLER) else {
            return Ok(Self::of_rate(share.unwrap_or(rate)));
        };
        let (share, follows_clients) = match sampler.as_str() {
            "always_on" => (1.0, false),
            "always_off" => (0.0, false),
            // OpenTelemetry's default for the share is all.
            "traceidratio" => (share.unwrap_or(1.0), false),
            "parentbased_always_on" => (1.0, true),
            "parentbased_always_off" => (0.0, true),
            "parentbased_traceidratio" => (share.unwrap_or(1.0), true),
            _ => {
                return Err(format!(
                    "invalid value '{}' for '{SAMPLER}': write one of always_on, always_off, traceidratio, \
                     parentbased_always_on, parentbased_always_off, parentbased_traceidratio",
                    sampler.escape_debug()
                ));
            }
        };
        Ok(Self {
            share,
            follows_clients,
        })
    }

    pub(super) fn takes(self, context: Option<&Context>, trace_id: [u8; 16]) -> bool {
        let of_client = context.and_then(|context| context.is_sampled);
        match of_client.filter(|_| self.follows_clients) {
            Some(is_sampled) => is_sampled,
            None => is_in_share(trace_id, self.share),
        }
    }
}

impl std::fmt::Display for Sampling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.share)?;
        f.write_str(if self.follows_clients {
            " of those that begin here, others as their clients say"
        } else {
            " of all"
        })
    }
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok();
    let share = share.filter(|share: &f64| (0.0..=1.0).contains(share));
    share.ok_or_else(|| {
        format!(
            "invalid value '{}' for '{SAMPLER_ARG}': write a share from 0 to 1, such as 0.1",
            text.escape_debug()
        )
    })
}

/// OpenTelemetry's rule, by which everybody with the same share takes the same traces.
fn is_in_share(trace_id: [u8; 16], share: f64) -> bool {
    let [.., a, b, c, d, e, f, g, h] = trace_id;
    let bits = u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 1;
    // The largest number may be rounded up to 2^63, and all are all.
    share >= 1.0 || (bits as f64) < share * (1_u64 << 63) as f64
}

#[cfg(test)]
mod tests {
    use super::super::ids::Ids;
    use super::*;

    const HALF: Sampling = Sampling {
        share: 0.5,
        follows_clients: true,
    };

    #[test]
    fn rates_are_knatives() {
        for (rate, expected) in [
            (-1.0, Sampling::NEVER),
            (0.0, Sampling::NEVER),
            (0.5, HALF),
            (1.0, Sampling::ALWAYS),
            (7.0, Sampling::ALWAYS),
            (f64::NAN, Sampling::NEVER),
        ] {
            assert_eq!(Sampling::of_rate(rate), expected, "{rate}");
        }
    }

    #[test]
    fn opentelemetrys_variables_win_over_the_rate() {
        let of = |share, follows_clients| Sampling {
            share,
            follows_clients,
        };
        for (sampler, argument, expected) in [
            ("", "", of(0.25, true)),
            ("", "0.5", of(0.5, true)),
            ("", "1", Sampling::ALWAYS),
            ("", " 0 ", Sampling::NEVER),
            ("always_on", "", of(1.0, false)),
            ("always_off", "1", of(0.0, false)),
            ("traceidratio", "0.1", of(0.1, false)),
            ("traceidratio", "", of(1.0, false)),
            ("parentbased_always_on", "", of(1.0, true)),
            ("parentbased_always_off", "0.3", of(0.0, true)),
            (" parentbased_traceidratio", "0.3", of(0.3, true)),
        ] {
            let variable =
                |name: &str| Some(if name == SAMPLER { sampler } else { argument }.to_owned());
            let found = Sampling::resolve(0.25, variable);
            assert_eq!(found, Ok(expected), "{sampler:?} {argument:?}");
        }
        assert_eq!(Sampling::resolve(0.5, |_| None), Ok(HALF));
    }

    #[test]
    fn what_cannot_be_understood_is_told_with_what_is_accepted() {
        for (sampler, argument, name, accepted) in [
            ("jaeger_remote", "", SAMPLER, "parentbased_traceidratio"),
            ("", "2", SAMPLER_ARG, "0 to 1"),
            ("", "-0.1", SAMPLER_ARG, "0 to 1"),
            ("always_on", "NaN", SAMPLER_ARG, "0 to 1"),
            ("traceidratio", "x", SAMPLER_ARG, "0 to 1"),
        ] {
            let variable =
                |name: &str| Some(if name == SAMPLER { sampler } else { argument }.to_owned());
            let error = Sampling::resolve(0.25, variable).expect_err(sampler);
            assert!(error.contains(&format!("for '{name}'")), "{error}");
            assert!(error.contains(accepted), "{error}");
        }
    }

    #[test]
    fn the_clients_decision_counts_where_it_is_to() {
        let context = |is_sampled| {
            Some(Context {
                trace_id: [1; 16],
                parent: [1; 8],
                is_sampled,
            })
        };
        // The last eight bytes decide: 0x01… is in the first hundredth, 0xff… is not.
        let (low, high) = ([1; 16], [255; 16]);
        let alone = Sampling {
            share: 0.5,
            follows_clients: false,
        };
        for (sampling, context, trace_id, expected) in [
            (Sampling::ALWAYS, context(Some(false)), high, true),
            (Sampling::NEVER, context(Some(true)), low, false),
            (alone, context(Some(true)), high, false),
            (HALF, context(Some(true)), high, true),
            (HALF, context(Some(false)), low, false),
            (HALF, context(None), low, true),
            (HALF, None, low, true),
            (HALF, None, high, false),
        ] {
            let taken = sampling.takes(context.as_ref(), trace_id);
            assert_eq!(taken, expected, "{sampling:?} {context:?}");
        }
    }

    #[test]
    fn about_the_share_of_new_traces_is_taken() {
        let ids = Ids::new();
        let taken = (0..20_000)
            .filter(|_| is_in_share(ids.trace(), 0.25))
            .count();
        assert!((4_500..5_500).contains(&taken), "{taken}");
    }
}
