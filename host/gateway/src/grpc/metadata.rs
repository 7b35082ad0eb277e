//! Health, metadata, configuration, statistics: what the protocol-neutral answers look like here.

use super::messages as wire;
use crate::oip::model_config::{self, TensorConfig};
use aimass_engine::{ModelMetadata, ModelStatistics, TensorMetadata, Timed};
use std::time::Duration;

pub(super) fn model(model: &ModelMetadata) -> wire::ModelMetadata {
    wire::ModelMetadata {
        name: model.name.to_string(),
        versions: model.versions.iter().map(u64::to_string).collect(),
        platform: model.platform.to_string(),
        inputs: model.inputs.iter().map(tensor).collect(),
        outputs: model.outputs.iter().map(tensor).collect(),
    }
}

fn tensor(tensor: &TensorMetadata) -> wire::TensorMetadata {
    wire::TensorMetadata {
        name: tensor.name.to_string(),
        datatype: model_config::datatype(tensor).to_owned(),
        shape: tensor.shape.clone().unwrap_or_else(|| vec![-1]),
    }
}

pub(super) fn config(model: &ModelMetadata) -> wire::ModelConfig {
    let input = |tensor: TensorConfig| wire::ModelInput {
        name: tensor.name,
        data_type: tensor.data_type,
        dims: tensor.dims,
    };
    let output = |tensor: TensorConfig| wire::ModelOutput {
        name: tensor.name,
        data_type: tensor.data_type,
        dims: tensor.dims,
    };
    let versions = model.versions.iter().filter_map(|&version| i64::try_from(version).ok());
    let labels = model.labels.iter().map(|(label, version)| {
        let string_value = version.to_string();
        (format!("label.{label}"), wire::ModelParameter { string_value })
    });
    wire::ModelConfig {
        name: model.name.to_string(),
        platform: model.platform.to_string(),
        version_policy: Some(wire::VersionPolicy {
            specific: Some(wire::SpecificVersions { versions: versions.collect() }),
        }),
        max_batch_size: 0,
        input: model.inputs.iter().map(model_config::tensor).map(input).collect(),
        output: model.outputs.iter().map(model_config::tensor).map(output).collect(),
        parameters: labels.collect(),
        backend: "aimass".to_owned(),
    }
}

pub(super) fn statistics(statistics: &ModelStatistics) -> wire::ModelStatistics {
    let timed = |timed: Timed| {
        let ns = nanoseconds(timed.time);
        Some(wire::StatisticDuration { count: timed.count, ns })
    };
    let batches = statistics.batches.iter().map(|&(batch_size, count)| wire::BatchStatistics {
        batch_size,
        compute_infer: Some(wire::StatisticDuration { count, ns: 0 }),
    });
    wire::ModelStatistics {
        name: statistics.model.to_string(),
        version: statistics.version.to_string(),
        last_inference: statistics.last_ms,
        inference_count: statistics.rows,
        execution_count: statistics.launches,
        inference_stats: Some(wire::InferStatistics {
            success: timed(statistics.success),
            fail: timed(statistics.fail),
            queue: timed(statistics.queue),
            compute_input: timed(statistics.before),
            compute_infer: timed(statistics.infer),
            compute_output: timed(statistics.after),
        }),
        batch_stats: batches.collect(),
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
