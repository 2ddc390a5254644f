// Weights that are not zero: read from a node's tensors, then ordered as the kernels take them.
#pragma once
#include <vector>

#include "path.h"

namespace wfpipe {

// A matrix [rows, columns] of which only what is not zero is kept, row by row.
struct SparseMatrix {
  int64_t row_count = 0, column_count = 0;
  std::vector<int64_t> first;    // [rows + 1], of the entries of a row
  std::vector<int32_t> columns;  // rising within a row
  std::vector<float> values;
};

// The tensors of a node that hold a matrix.
struct Encoded {
  const void* values;    // [count]
  bool half;             // values are float16, else float32
  const uint8_t* gaps;   // [count]: a column is the one before it in its row plus the gap
  int64_t count;
  const int32_t* rows;   // [row_count + 1]: where a row's entries begin
  int64_t row_count, column_count;
};

// Read a matrix; a Fault where the tensors break a rule.
SparseMatrix decode(const Encoded& from);

struct PlanSpec {
  int64_t groups;       // of rows, each with the columns of its own channels
  int64_t taps;         // columns of a channel
  bool packed;          // input rows are packed; else they are the channels themselves
  int64_t chunk_rows;   // at most: input rows that fit into the cache together
  int64_t parts;        // wanted of a group: what threads share
};

// The weights as the kernels take them: parts of output channels, in chunks of input rows.
class SparsePlan {
 public:
  SparsePlan(const SparseMatrix& matrix, const PlanSpec& spec);
  const std::vector<Part>& parts() const { return parts_; }

 private:
  struct Range {
    int64_t begin, end;
  };

  void part(const SparseMatrix& matrix, const PlanSpec& spec, Range rows, int64_t group);
  Chunk chunk(const SparseMatrix& matrix, const PlanSpec& spec, Range rows, bool outer,
              const std::vector<int32_t>& used, Range kept, int64_t group);

  std::vector<Part> parts_;
  std::vector<int64_t> part_first_;    // of chunks_
  std::vector<Chunk> chunks_;
  std::vector<Packed> packed_;
  std::vector<uint16_t> taps_;
  std::vector<Run> runs_;
  std::vector<int32_t> order_;
  std::vector<Entry> entries_;
  std::vector<int64_t> cursor_;        // of each row: its next entry
};

}  // namespace wfpipe
