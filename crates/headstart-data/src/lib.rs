//! Labelled images: folders, tables and archives to preprocessed pixels.
