//! What transformers do with tokens, as ONNX nodes: tokens before all others, rows of tables, the pooling of a sequence.

use super::operations::Place;
use super::proto::AttributeProto as Attribute;
use crate::Error;
use headstart_graph::{AddRows, ClassToken, Pooled, TokenPool};

impl Place<'_> {
    /// The token before all others, once for each image of the batch.
    pub(super) fn class_token(&mut self, token: &ClassToken) -> Result<String, Error> {
        let parameter = self.parameter("")?;
        let mut x = self.inputs[0].to_owned();
        if self.shapes[0].len() == 3 {
            let shape = self.list("rows", &[0, token.features as i64, -1]);
            let pixels = self.part("pixels", "Reshape", &[&x, &shape], []);
            x = self.part("tokens", "Transpose", &[&pixels], [Attribute::ints("perm", [0, 2, 1])]);
        }
        let first = [Attribute::int("start", 0), Attribute::int("end", 1)];
        let batch = self.part("batch", "Shape", &[&x], first);
        let one = self.list("one", &[1, 1]);
        let shape = self.part("shape", "Concat", &[&batch, &one], [Attribute::int("axis", 0)]);
        let tokens = self.part("expanded", "Expand", &[&parameter, &shape], []);
        Ok(self.emit("Concat", &[&tokens, &x], [Attribute::int("axis", 1)]))
    }

    pub(super) fn add_rows(&mut self, rows: &AddRows) -> Result<String, Error> {
        let table = self.parameter(if rows.whole { "" } else { "weight" })?;
        if rows.whole && rows.first == 0 && rows.step == 1 && self.node.shape.rank() == 2 {
            return Ok(self.emit("Add", &[self.inputs[0], &table], []));
        }
        if self.node.shape.rank() == 3 {
            return self.add_pixel_rows(rows, &table);
        }
        let tokens = self.node.shape.dims()[0];
        let places: Vec<i64> = (0..tokens).map(|t| (rows.first + t * rows.step) as i64).collect();
        let places = self.list("places", &places);
        let axis = if rows.whole { 1 } else { 0 };
        let added = self.part("rows", "Gather", &[&table, &places], [Attribute::int("axis", axis)]);
        Ok(self.emit("Add", &[self.inputs[0], &added], []))
    }

    /// Rows of the table for the pixels of an image, one after the other.
    fn add_pixel_rows(&mut self, rows: &AddRows, table: &str) -> Result<String, Error> {
        let [height, width, channels] = [0, 1, 2].map(|i| self.node.shape.dims()[i] as i64);
        let places: Vec<i64> =
            (0..height * width).map(|t| rows.first as i64 + t * rows.step as i64).collect();
        let places = self.list("places", &places);
        let flat = self.list("flat", &[rows.entries as i64, channels]);
        let table = self.part("table", "Reshape", &[table, &flat], []);
        let added = self.part("rows", "Gather", &[&table, &places], [Attribute::int("axis", 0)]);
        let added = self.part("columns", "Transpose", &[&added], [Attribute::ints("perm", [1, 0])]);
        let image = self.list("image", &[channels, height, width]);
        let added = self.part("pixels", "Reshape", &[&added, &image], []);
        Ok(self.emit("Add", &[self.inputs[0], &added], []))
    }

    pub(super) fn token_pool(&mut self, pool: &TokenPool) -> String {
        match pool.pooled {
            Pooled::First => {
                let first = self.called("first");
                let first = self.emitter.integer(&first, 0);
                self.emit("Gather", &[self.inputs[0], &first], [Attribute::int("axis", 1)])
            }
            Pooled::Mean => {
                let axes = self.list("axes", &[1]);
                self.emit("ReduceMean", &[self.inputs[0], &axes], [Attribute::int("keepdims", 0)])
            }
        }
    }
}
