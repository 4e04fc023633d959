//! The JSON format: the protobuf message in its JSON mapping.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use super::{Draft, LoadReport, ReportError};

/// Reads an object. Names may be those of the message or their camel-case form,
/// and numbers may be strings, as the mapping allows.
pub(super) fn read(report: &str) -> Result<LoadReport, ReportError> {
    let mut reading = Reading::default();
    let mut json = serde_json::Deserializer::from_str(report);
    let read = Fields(&mut reading).deserialize(&mut json);
    match (reading.refused, read.and_then(|()| json.end())) {
        (Some(refused), _) => Err(refused),
        (None, Err(_)) => Err(ReportError::Malformed),
        (None, Ok(())) => Ok(reading.draft.finish()),
    }
}

/// Writes a report. It reads back as the same, but for the last digit of a
/// float, which the JSON library rounds for speed.
pub(super) fn write(report: &LoadReport) -> String {
    let items: Vec<_> = report
        .metrics()
        .map(|(metric, value)| format!("\"{}\":{value}", metric.as_str()))
        .collect();
    format!("{{{}}}", items.join(","))
}

/// A report that is being read, and why it is not read on.
#[derive(Default)]
struct Reading {
    draft: Draft,
    refused: Option<ReportError>,
}

impl Reading {
    /// The library's errors carry text only, so ours are kept aside.
    fn check<E: Error>(&mut self, taken: Result<(), ReportError>) -> Result<(), E> {
        taken.map_err(|refused| {
            self.refused = Some(refused);
            E::custom(refused)
        })
    }
}

/// The object of the message.
struct Fields<'a>(&'a mut Reading);

/// An object of numbers under any names.
struct Numbers<'a>(&'a mut Reading);

/// A number, a string that is one, or null.
struct Number;

impl<'de> DeserializeSeed<'de> for Fields<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a load report")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        while let Some(name) = fields.next_key::<String>()? {
            match field_name(&name) {
                "named_metrics" | "request_cost" | "utilization" => {
                    fields.next_value_seed(Numbers(self.0))?;
                }
                "" => {
                    let counted = self.0.draft.count();
                    self.0.check(counted)?;
                    fields.next_value::<IgnoredAny>()?;
                }
                name => {
                    if let Some(value) = fields.next_value_seed(Number)? {
                        let taken = self.0.draft.set(name, value);
                        self.0.check(taken)?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Numbers<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for Numbers<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("numbers by name")
    }

    fn visit_none<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut numbers: A) -> Result<(), A::Error> {
        while numbers.next_key::<IgnoredAny>()?.is_some() {
            let value = numbers.next_value_seed(Number)?;
            let taken = self.0.draft.set_other(value.unwrap_or_default());
            self.0.check(taken)?;
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Number {
    type Value = Option<f64>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Option<f64>, D::Error> {
        json.deserialize_any(self)
    }
}

impl Visitor<'_> for Number {
    type Value = Option<f64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Option<f64>, E> {
        Ok(Some(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Option<f64>, E> {
        Ok(Some(value as f64))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Option<f64>, E> {
        Ok(Some(value as f64))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Option<f64>, E> {
        value.parse().map(Some).map_err(E::custom)
    }

    fn visit_unit<E: Error>(self) -> Result<Option<f64>, E> {
        Ok(None)
    }
}

/// The name of the message's field; empty for what is none of them.
fn field_name(name: &str) -> &'static str {
    match name {
        "application_utilization" | "applicationUtilization" => "application_utilization",
        "cpu_utilization" | "cpuUtilization" => "cpu_utilization",
        "mem_utilization" | "memUtilization" => "mem_utilization",
        "rps_fractional" | "rpsFractional" => "rps_fractional",
        "rps" => "rps",
        "eps" => "eps",
        "named_metrics" | "namedMetrics" => "named_metrics",
        "request_cost" | "requestCost" => "request_cost",
        "utilization" => "utilization",
        _ => "",
    }
}
