//! Parquet: a row per image, with the fields of the JSON object as columns.

use std::io::{self, Read, Write};
use std::sync::Arc;

use arrow_array::builder::{
    BooleanBuilder, Float32Builder, Float64Builder, Int32Builder, ListBuilder, StringBuilder, StructBuilder,
};
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Fields, Schema};
use bytes::Bytes;
use ferronnx_models::card::Activation;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use super::{Row, RowWriter};
use crate::results::{Classified, Failed, Outcome, Prediction};

/// Number of rows that are encoded together.
const ROWS: usize = 1024;

/// Number of rows in a row group.
const GROUP: usize = 1 << 16;

/// Writer of Parquet.
pub struct ParquetWriter<W: Write + Send> {
    out: ArrowWriter<W>,
    columns: Columns,
}

impl<W: Write + Send> ParquetWriter<W> {
    /// Creates a writer to `out`; `with_selected` adds a field that tells whether a class is selected.
    ///
    /// # Errors
    /// Those of the output.
    pub fn new(out: W, with_selected: bool) -> io::Result<Self> {
        let columns = Columns::new(with_selected);
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_max_row_group_row_count(Some(GROUP))
            .build();
        let out = ArrowWriter::try_new(out, columns.schema.clone(), Some(properties)).map_err(failed)?;
        Ok(Self { out, columns })
    }

    /// Writes the end, and gives the output back.
    pub(super) fn into_inner(mut self) -> io::Result<W> {
        self.encode()?;
        self.out.into_inner().map_err(failed)
    }

    fn encode(&mut self) -> io::Result<()> {
        let batch = self.columns.take().map_err(|error| failed(error.into()))?;
        self.out.write(&batch).map_err(failed)
    }
}

impl<W: Write + Send> RowWriter for ParquetWriter<W> {
    fn write(&mut self, outcome: &Outcome) -> io::Result<()> {
        self.columns.add(outcome);
        if self.columns.rows == ROWS { self.encode() } else { Ok(()) }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.encode()?;
        self.out.finish().map(drop).map_err(failed)
    }
}

fn failed(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(source) => match source.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(source) => io::Error::other(source),
        },
        error => io::Error::other(error),
    }
}

/// Columns of the rows that are not encoded yet.
struct Columns {
    schema: Arc<Schema>,
    rows: usize,
    path: StringBuilder,
    predictions: ListBuilder<StructBuilder>,
    activation: StringBuilder,
    provider: StringBuilder,
    timings: StructBuilder,
    error: StructBuilder,
}

impl Columns {
    fn new(with_selected: bool) -> Self {
        let required = |name: &str, kind| Field::new(name, kind, false);
        let mut prediction = vec![
            required("index", DataType::Int32),
            required("label", DataType::Utf8),
            required("probability", DataType::Float32),
        ];
        if with_selected {
            prediction.push(required("selected", DataType::Boolean));
        }
        let prediction = Fields::from(prediction);
        let timings = ["decode", "preprocess", "inference"].map(|name| required(name, DataType::Float64));
        let timings = Fields::from(timings.to_vec());
        let error = Fields::from(["kind", "message"].map(|name| required(name, DataType::Utf8)).to_vec());
        let item = Arc::new(required("item", DataType::Struct(prediction.clone())));
        let schema = Schema::new(vec![
            required("path", DataType::Utf8),
            Field::new("predictions", DataType::List(item.clone()), true),
            Field::new("activation", DataType::Utf8, true),
            Field::new("provider", DataType::Utf8, true),
            Field::new("timings_ms", DataType::Struct(timings.clone()), true),
            Field::new("error", DataType::Struct(error.clone()), true),
        ]);
        Self {
            schema: Arc::new(schema),
            rows: 0,
            path: StringBuilder::new(),
            predictions: ListBuilder::new(StructBuilder::from_fields(prediction, ROWS)).with_field(item),
            activation: StringBuilder::new(),
            provider: StringBuilder::new(),
            timings: StructBuilder::from_fields(timings, ROWS),
            error: StructBuilder::from_fields(error, ROWS),
        }
    }

    fn add(&mut self, outcome: &Outcome) {
        self.rows += 1;
        self.path.append_value(outcome.path().to_string_lossy());
        match outcome {
            Outcome::Classified(classified) => self.add_classified(classified),
            Outcome::Failed(failed) => self.add_failed(failed),
        }
    }

    fn add_classified(&mut self, classified: &Classified) {
        let Classified { predictions, activation, provider, timings_ms, .. } = classified;
        for prediction in predictions {
            add_prediction(self.predictions.values(), prediction);
        }
        self.predictions.append(true);
        self.activation.append_value(name(*activation));
        self.provider.append_value(provider);
        for (field, value) in
            [timings_ms.decode, timings_ms.preprocess, timings_ms.inference].into_iter().enumerate()
        {
            field_of::<Float64Builder>(&mut self.timings, field).append_value(value);
        }
        self.timings.append(true);
        for field in 0..2 {
            field_of::<StringBuilder>(&mut self.error, field).append_value("");
        }
        self.error.append(false);
    }

    fn add_failed(&mut self, Failed { error, .. }: &Failed) {
        self.predictions.append(false);
        self.activation.append_null();
        self.provider.append_null();
        for field in 0..3 {
            field_of::<Float64Builder>(&mut self.timings, field).append_value(0.0);
        }
        self.timings.append(false);
        for (field, text) in [error.kind().name().to_owned(), error.reason()].into_iter().enumerate() {
            field_of::<StringBuilder>(&mut self.error, field).append_value(text);
        }
        self.error.append(true);
    }

    fn take(&mut self) -> Result<RecordBatch, arrow_schema::ArrowError> {
        self.rows = 0;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.path.finish()),
            Arc::new(self.predictions.finish()),
            Arc::new(self.activation.finish()),
            Arc::new(self.provider.finish()),
            Arc::new(self.timings.finish()),
            Arc::new(self.error.finish()),
        ];
        RecordBatch::try_new(self.schema.clone(), columns)
    }
}

fn add_prediction(to: &mut StructBuilder, prediction: &Prediction) {
    let Prediction { index, label, probability, selected } = prediction;
    field_of::<Int32Builder>(to, 0).append_value(i32::try_from(*index).unwrap_or(i32::MAX));
    field_of::<StringBuilder>(to, 1).append_value(label);
    field_of::<Float32Builder>(to, 2).append_value(*probability);
    if to.num_fields() > 3 {
        field_of::<BooleanBuilder>(to, 3).append_value(*selected == Some(true));
    }
    to.append(true);
}

fn field_of<B: arrow_array::builder::ArrayBuilder>(of: &mut StructBuilder, index: usize) -> &mut B {
    of.field_builder(index).expect("the builder is made from these fields")
}

/// Name of an activation in JSON.
fn name(activation: Activation) -> String {
    match serde_json::to_value(activation) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}

/// Reads the rows of [`ParquetWriter`].
pub(super) fn read(mut input: impl Read, see: &mut dyn FnMut(Row<'_>)) -> io::Result<()> {
    let mut bytes = Vec::new();
    input.read_to_end(&mut bytes)?;
    let invalid = |error: String| io::Error::new(io::ErrorKind::InvalidData, error);
    let builder = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes))
        .map_err(|error| invalid(error.to_string()))?;
    let columns = ["path", "error"].map(|name| builder.schema().index_of(name).ok());
    let [Some(path), Some(error)] = columns else {
        return Err(invalid("the columns `path` and `error` are missing".into()));
    };
    let mask = ProjectionMask::roots(builder.parquet_schema(), [path, error]);
    let reader = builder.with_projection(mask).build().map_err(|error| invalid(error.to_string()))?;
    for batch in reader {
        let batch = batch.map_err(|error| invalid(error.to_string()))?;
        let column = |name| batch.column_by_name(name).ok_or_else(|| invalid(format!("no column `{name}`")));
        let (paths, errors) = (column("path")?, column("error")?);
        let paths = paths.as_any().downcast_ref::<StringArray>();
        let paths = paths.ok_or_else(|| invalid("the column `path` is no text".into()))?;
        for row in 0..batch.num_rows() {
            see(Row { name: paths.value(row), failed: errors.is_valid(row) });
        }
    }
    Ok(())
}
