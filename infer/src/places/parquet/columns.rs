//! Columns of images and labels.

use ::parquet::file::metadata::FileMetaData;
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, Schema};
use serde_json::Value;

use crate::error::first_of;
use crate::escape;
use crate::places::{Label, PlaceError};

/// Names of the column of images, preferred ones first.
const IMAGE: [&str; 7] = ["image", "img", "jpg", "jpeg", "png", "webp", "bytes"];

/// Names of the column of labels, preferred ones first.
const LABEL: [&str; 7] = ["label", "labels", "fine_label", "coarse_label", "class", "cls", "target"];

/// Columns of a file that are read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Columns {
    pub image: String,
    pub label: Option<String>,
    /// Names of the classes by their numbers; empty where the file has none.
    pub names: Vec<String>,
    positions: Vec<usize>,
}

impl Columns {
    /// Finds the columns by the types that Hugging Face's metadata gives them, or else by their names.
    pub fn of(schema: &Schema, metadata: &FileMetaData) -> Result<Self, PlaceError> {
        let pairs = metadata.key_value_metadata().into_iter().flatten();
        let text = pairs.filter(|pair| pair.key == "huggingface").find_map(|pair| pair.value.as_deref());
        let json: Value = text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let features = &json["info"]["features"];
        let of_type = |kind: &str| {
            let fields = schema.fields().iter().map(|field| field.name());
            let mut fields = fields.filter(|name| features[name.as_str()]["_type"] == kind);
            fields.next().cloned()
        };
        let position = |name: &str| schema.fields().iter().position(|field| field.name() == name);
        let named = |names: &[&str], fits: fn(&DataType) -> bool| {
            let exists =
                |name: &&&str| position(name).is_some_and(|index| fits(schema.field(index).data_type()));
            names.iter().find(exists).map(|name| (*name).to_owned())
        };
        let image = of_type("Image")
            .filter(|name| position(name).is_some_and(|index| is_image(schema.field(index).data_type())));
        let Some(image) = image.or_else(|| named(&IMAGE, is_image)) else {
            let names = schema.fields().iter().map(|field| escape::name(field.name()).into_owned());
            return Err(PlaceError::NoImageColumn(first_of(8, names.collect::<Vec<_>>().iter())));
        };
        let label = named(&LABEL, is_label).or_else(|| of_type("ClassLabel"));
        let names = label.as_ref().map(|label| class_names(&features[label.as_str()])).unwrap_or_default();
        let positions =
            [Some(&image), label.as_ref()].into_iter().flatten().filter_map(|name| position(name));
        Ok(Self { positions: positions.collect(), image, label, names })
    }

    /// Positions of the columns among those of the file.
    pub fn positions(&self) -> impl Iterator<Item = usize> + '_ {
        self.positions.iter().copied()
    }
}

fn is_image(kind: &DataType) -> bool {
    match kind {
        DataType::Binary | DataType::LargeBinary => true,
        DataType::Struct(fields) => {
            fields.iter().any(|field| field.name() == "bytes" && is_image(field.data_type()))
        }
        _ => false,
    }
}

fn is_label(kind: &DataType) -> bool {
    match kind {
        DataType::List(item) | DataType::LargeList(item) => is_label(item.data_type()),
        DataType::Utf8 | DataType::LargeUtf8 => true,
        kind => kind.is_integer(),
    }
}

/// Names of the classes of a feature, or of the items of a list.
fn class_names(feature: &Value) -> Vec<String> {
    let names = [&feature["names"], &feature["feature"]["names"], &feature[0]["names"]];
    let names = names.into_iter().find_map(Value::as_array).into_iter().flatten();
    names.filter_map(|name| name.as_str().map(str::to_owned)).collect()
}

/// Images of the rows of a column.
pub(super) struct Images<'a> {
    column: &'a ArrayRef,
    bytes: &'a ArrayRef,
    path: Option<&'a ArrayRef>,
}

impl<'a> Images<'a> {
    /// Takes a column apart; none if it has no bytes.
    pub fn new(column: &'a ArrayRef) -> Option<Self> {
        let Some(fields) = column.as_struct_opt() else {
            return Some(Self { column, bytes: column, path: None });
        };
        Some(Self { column, bytes: fields.column_by_name("bytes")?, path: fields.column_by_name("path") })
    }

    /// Bytes of the image of a row.
    pub fn of(&self, row: usize) -> Result<&'a [u8], PlaceError> {
        if !self.column.is_null(row) && !self.bytes.is_null(row) {
            match self.bytes.data_type() {
                DataType::Binary => return Ok(self.bytes.as_binary::<i32>().value(row)),
                DataType::LargeBinary => return Ok(self.bytes.as_binary::<i64>().value(row)),
                _ => {}
            }
        }
        let path = self.path.and_then(|path| path.as_string_opt::<i32>()).filter(|path| !path.is_null(row));
        Err(PlaceError::NoBytes(match path {
            Some(path) => format!("it names the file {}", escape::name(path.value(row))),
            None => "it is empty".into(),
        }))
    }
}

/// Labels of the rows of a column.
pub(super) struct Labels<'a> {
    column: Option<&'a ArrayRef>,
    names: &'a [String],
}

impl<'a> Labels<'a> {
    pub fn new(column: Option<&'a ArrayRef>, names: &'a [String]) -> Self {
        Self { column, names }
    }

    /// Labels of a row; none for a missing one and for `-1`, which Hugging Face writes where there is none.
    pub fn of(&self, row: usize) -> Option<Vec<Label>> {
        let column = self.column.filter(|column| !column.is_null(row))?;
        let items = match column.data_type() {
            DataType::List(_) => column.as_list::<i32>().value(row),
            DataType::LargeList(_) => column.as_list::<i64>().value(row),
            _ => return self.label(column, row).map(|label| vec![label]),
        };
        (0..items.len()).map(|index| self.label(&items, index)).collect()
    }

    fn label(&self, column: &ArrayRef, row: usize) -> Option<Label> {
        if column.is_null(row) {
            return None;
        }
        match column.data_type() {
            DataType::Utf8 => Some(Label::named(column.as_string::<i32>().value(row))),
            DataType::LargeUtf8 => Some(Label::named(column.as_string::<i64>().value(row))),
            _ => {
                let index = usize::try_from(integer(column, row)?).ok()?;
                Some(self.names.get(index).map_or(Label::Index(index), |name| Label::named(name)))
            }
        }
    }
}

fn integer(column: &ArrayRef, row: usize) -> Option<i64> {
    match column.data_type() {
        DataType::Int8 => Some(column.as_primitive::<Int8Type>().value(row).into()),
        DataType::Int16 => Some(column.as_primitive::<Int16Type>().value(row).into()),
        DataType::Int32 => Some(column.as_primitive::<Int32Type>().value(row).into()),
        DataType::Int64 => Some(column.as_primitive::<Int64Type>().value(row)),
        DataType::UInt8 => Some(column.as_primitive::<UInt8Type>().value(row).into()),
        DataType::UInt16 => Some(column.as_primitive::<UInt16Type>().value(row).into()),
        DataType::UInt32 => Some(column.as_primitive::<UInt32Type>().value(row).into()),
        DataType::UInt64 => column.as_primitive::<UInt64Type>().value(row).try_into().ok(),
        _ => None,
    }
}
