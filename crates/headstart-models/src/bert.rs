//! BERT (Devlin et al. 2019) and its kin under the names of Hugging Face's `BertModel`: word, position and segment
//! embeddings, blocks that normalise last. The input is word ids, `[tokens]`; padding is seen by nothing.

use headstart_graph::{
    AddRows, Embedding, Graph, GraphBuilder, GraphError, Linears, NodeId, Op, Pooled, Smooth, TokenPool,
};

/// The sizes of an encoder, as its `config.json` has them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bert {
    /// Words of the vocabulary (`vocab_size`).
    pub words: usize,
    /// The most tokens of a text (`max_position_embeddings`).
    pub positions: usize,
    /// Segments (`type_vocab_size`); texts have the first.
    pub segments: usize,
    /// Features of a token (`hidden_size`).
    pub width: usize,
    /// Blocks (`num_hidden_layers`).
    pub blocks: usize,
    /// Heads of each block (`num_attention_heads`).
    pub heads: usize,
    /// Features between the two linear layers of a block (`intermediate_size`).
    pub inner: usize,
    /// Between them (`hidden_act`).
    pub activation: Smooth,
    /// Added to the variance (`layer_norm_eps`).
    pub eps: f64,
    /// The id of padding (`pad_token_id`).
    pub pad: u32,
}

/// What the tokens of a text become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sentence {
    /// They stay tokens: `[tokens, width]`.
    Tokens,
    /// The first one, `[CLS]`.
    First,
    /// Their mean, without padding, as sentence encoders have it.
    Mean,
    /// The first one through a linear layer and tanh (`pooler`).
    Pooler,
}

/// The layer that classifies sentences.
pub const CLASSIFIER: &str = "classifier";

const fn uncased(width: usize, blocks: usize, heads: usize) -> Bert {
    Bert {
        words: 30_522,
        positions: 512,
        segments: 2,
        width,
        blocks,
        heads,
        inner: 4 * width,
        activation: Smooth::Gelu,
        eps: 1e-12,
        pad: 0,
    }
}

/// Well-known encoders by name.
pub const ENCODERS: [(&str, Bert); 5] = [
    ("bert_tiny", uncased(128, 2, 2)),
    ("bert_base_uncased", uncased(768, 12, 12)),
    ("bert_base_cased", Bert { words: 28_996, ..uncased(768, 12, 12) }),
    ("all_minilm_l6_v2", uncased(384, 6, 12)),
    ("all_minilm_l12_v2", uncased(384, 12, 12)),
];

impl Bert {
    /// The network for texts of `tokens` ids, shorter ones filled with padding behind; stages `embeddings`,
    /// `encoder.layer.0` and on, `pool`.
    ///
    /// # Errors
    /// Where the sizes do not fit each other, or `tokens` is 0 or more than the position embeddings have.
    pub fn build(&self, tokens: usize, sentence: Sentence) -> Result<Graph, GraphError> {
        Ok(self.network(tokens, sentence)?.0.finish())
    }

    /// As [`Bert::build`], with a linear layer of `classes` outputs, [`CLASSIFIER`], behind the sentence, which is made of
    /// length 1 before where `normalize` says so.
    ///
    /// # Errors
    /// As [`Bert::build`].
    pub fn classifier(
        &self,
        tokens: usize,
        sentence: Sentence,
        normalize: bool,
        classes: usize,
    ) -> Result<Graph, GraphError> {
        let (mut b, mut x) = self.network(tokens, sentence)?;
        if normalize {
            x = b.add("normalize", Op::Normalize, &[x])?;
        }
        b.stage(CLASSIFIER);
        b.linear(CLASSIFIER, x, classes)?;
        Ok(b.finish())
    }

    fn network(&self, tokens: usize, sentence: Sentence) -> Result<(GraphBuilder, NodeId), GraphError> {
        let mut b = GraphBuilder::new([tokens]);
        let ids = b.input();
        b.stage("embeddings");
        let mask = b.add("attention_mask", Op::PadMask { pad: self.pad }, &[ids])?;
        let name = |part: &str| format!("embeddings.{part}");
        let words = Embedding { entries: self.words, features: self.width };
        let x = b.add(&name("word_embeddings"), Op::Embedding(words), &[ids])?;
        let rows = |entries: usize, step: usize| {
            Op::AddRows(AddRows { entries, features: self.width, first: 0, step, whole: false })
        };
        let x = b.add(&name("position_embeddings"), rows(self.positions, 1), &[x])?;
        let x = b.add(&name("token_type_embeddings"), rows(self.segments, 0), &[x])?;
        let mut x = b.layer_norm(&name("LayerNorm"), x, self.eps)?;
        for i in 0..self.blocks {
            let name = format!("encoder.layer.{i}");
            b.stage(&name);
            x = self.block(&mut b, &name, x, mask)?;
        }
        b.stage("pool");
        let pool = |pooled| match pooled {
            Pooled::First => (Op::TokenPool(TokenPool { pooled, mask: false }), vec![x]),
            Pooled::Mean => (Op::TokenPool(TokenPool { pooled, mask: true }), vec![x, mask]),
        };
        let (op, inputs) = match sentence {
            Sentence::Tokens => return Ok((b, x)),
            Sentence::First | Sentence::Pooler => pool(Pooled::First),
            Sentence::Mean => pool(Pooled::Mean),
        };
        let mut x = b.add("pool", op, &inputs)?;
        if sentence == Sentence::Pooler {
            x = b.linear("pooler.dense", x, self.width)?;
            x = b.smooth("pooler.activation", x, Smooth::Tanh)?;
        }
        Ok((b, x))
    }

    fn block(&self, b: &mut GraphBuilder, name: &str, x: NodeId, mask: NodeId) -> Result<NodeId, GraphError> {
        let part = |part: &str| format!("{name}.{part}");
        let parts = ["query", "key", "value"].map(String::from).to_vec();
        let joint = Linears { in_features: self.width, out_features: self.width, parts };
        let y = b.add(&part("attention.self"), Op::Linears(joint), &[x])?;
        let y = b.attention(&part("attention"), y, self.heads, Some(mask))?;
        let y = b.linear(&part("attention.output.dense"), y, self.width)?;
        let x = b.add(&part("attention.output.add"), Op::Add, &[y, x])?;
        let x = b.layer_norm(&part("attention.output.LayerNorm"), x, self.eps)?;
        let y = b.linear(&part("intermediate.dense"), x, self.inner)?;
        let y = b.smooth(&part("intermediate.activation"), y, self.activation)?;
        let y = b.linear(&part("output.dense"), y, self.width)?;
        let x = b.add(&part("output.add"), Op::Add, &[y, x])?;
        b.layer_norm(&part("output.LayerNorm"), x, self.eps)
    }
}
