#include "sparse_weights.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>

#include "fault.h"

namespace wfpipe {
namespace {

float from_half(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const uint32_t exponent = half >> 10 & 31, fraction = half & 0x3ff;
  float value;
  if (exponent == 0) {  // subnormal: a multiple of 2^-24
    value = static_cast<float>(fraction) * 5.9604644775390625e-8f;
    return sign ? -value : value;
  }
  const uint32_t wide = exponent == 31 ? 255 : exponent + 112;
  const uint32_t bits = sign | wide << 23 | fraction << 13;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

float value_at(const Encoded& from, int64_t i) {
  if (from.half) return from_half(static_cast<const uint16_t*>(from.values)[i]);
  return static_cast<const float*>(from.values)[i];
}

}  // namespace

SparseMatrix decode(const Encoded& from) {
  require(from.rows[0] == 0 && from.rows[from.row_count] == from.count,
          "rows must begin with 0 and end with the number of values");
  SparseMatrix result;
  result.row_count = from.row_count, result.column_count = from.column_count;
  result.first.push_back(0);
  for (int64_t r = 0; r < from.row_count; ++r) {
    const int64_t begin = from.rows[r], end = from.rows[r + 1];
    require(begin <= end && end <= from.count, "rows must rise");
    int64_t column = 0;
    for (int64_t i = begin; i < end; ++i) {
      require(i == begin || from.gaps[i] > 0, "gaps after the first of a row must be positive");
      column += from.gaps[i];
      require(column < from.column_count, "a column lies outside of the weight");
      const float value = value_at(from, i);
      if (value == 0) continue;  // which bridges a gap
      result.columns.push_back(static_cast<int32_t>(column));
      result.values.push_back(value);
    }
    result.first.push_back(static_cast<int64_t>(result.columns.size()));
  }
  return result;
}

SparsePlan::SparsePlan(const SparseMatrix& matrix, const PlanSpec& spec) {
  require(matrix.row_count <= std::numeric_limits<int32_t>::max(), "too many output channels");
  entries_.reserve(matrix.values.size());
  cursor_.assign(matrix.first.begin(), matrix.first.end() - 1);
  const int64_t rows = matrix.row_count / spec.groups;
  for (int64_t group = 0; group < spec.groups; ++group) {
    const int64_t end = (group + 1) * rows;
    int64_t begin = group * rows, left = std::min(spec.parts, rows);
    for (; left > 0; --left) {  // equal shares of what is left
      const int64_t share = (matrix.first[end] - matrix.first[begin]) / left;
      int64_t stop = begin + 1;
      while (stop < end - (left - 1) && matrix.first[stop] - matrix.first[begin] < share) ++stop;
      if (left == 1) stop = end;
      part(matrix, spec, {begin, stop}, group);
      begin = stop;
    }
  }
  // All is in place and will not move: say where.
  const Packed* packed = packed_.data();
  const uint16_t* taps = taps_.data();
  const Run* runs = runs_.data();
  const int32_t* order = order_.data();
  const Entry* entries = entries_.data();
  for (Chunk& each : chunks_) {
    each.packed = packed, each.taps = taps, each.runs = runs, each.order = order;
    each.entries = entries;
    for (int32_t i = 0; i < each.packed_count; ++i) taps += packed[i].taps;
    for (int32_t i = 0; i < each.run_count; ++i) {
      order += runs[i].rows;
      entries += static_cast<int64_t>(runs[i].rows) * runs[i].count;
    }
    packed += each.packed_count, runs += each.run_count;
  }
  part_first_.push_back(static_cast<int64_t>(chunks_.size()));
  for (size_t i = 0; i + 1 < part_first_.size(); ++i) {
    parts_.push_back({chunks_.data() + part_first_[i],
                      static_cast<int32_t>(part_first_[i + 1] - part_first_[i])});
  }
  cursor_ = {};
}

// The chunks of a part: equal shares of the input rows that it uses, or of all channels.
void SparsePlan::part(const SparseMatrix& matrix, const PlanSpec& spec, Range rows,
                      int64_t group) {
  std::vector<int32_t> used;
  if (spec.packed) {
    std::vector<char> seen(static_cast<size_t>(matrix.column_count), 0);
    for (int64_t i = matrix.first[rows.begin]; i < matrix.first[rows.end]; ++i) {
      seen[static_cast<size_t>(matrix.columns[i])] = 1;
    }
    for (size_t k = 0; k < seen.size(); ++k) {
      if (seen[k]) used.push_back(static_cast<int32_t>(k));
    }
  } else {
    used.resize(static_cast<size_t>(matrix.column_count));
    std::iota(used.begin(), used.end(), 0);
  }
  const int64_t count = static_cast<int64_t>(used.size());
  const int64_t chunks = std::max<int64_t>(1, (count + spec.chunk_rows - 1) / spec.chunk_rows);
  part_first_.push_back(static_cast<int64_t>(chunks_.size()));
  for (int64_t c = 0; c < chunks; ++c) {
    const Range kept = {count * c / chunks, count * (c + 1) / chunks};
    chunks_.push_back(chunk(matrix, spec, rows, c == 0 || c + 1 == chunks, used, kept, group));
  }
}

// One chunk: its input rows, then its weights by output channel, those with equally many together.
Chunk SparsePlan::chunk(const SparseMatrix& matrix, const PlanSpec& spec, Range rows, bool outer,
                        const std::vector<int32_t>& used, Range kept, int64_t group) {
  Chunk result = {};
  const int64_t first_channel = group * (matrix.column_count / spec.taps);
  if (spec.packed) {
    for (int64_t i = kept.begin; i < kept.end; ++i) {
      const int32_t channel = static_cast<int32_t>(first_channel + used[i] / spec.taps);
      if (i == kept.begin || packed_.back().channel != channel) {
        packed_.push_back({channel, 0});
        ++result.packed_count;
      }
      ++packed_.back().taps;
      taps_.push_back(static_cast<uint16_t>(used[i] % spec.taps));
    }
  } else {
    result.first_channel = static_cast<int32_t>(first_channel + kept.begin);
  }
  const int64_t past = kept.end < static_cast<int64_t>(used.size()) ? used[kept.end]
                                                                    : matrix.column_count;
  std::vector<std::pair<int64_t, int32_t>> counts;  // of a row's entries in the chunk
  for (int64_t m = rows.begin; m < rows.end; ++m) {
    int64_t end = cursor_[m];
    while (end < matrix.first[m + 1] && matrix.columns[end] < past) ++end;
    if (outer || end > cursor_[m]) counts.emplace_back(end - cursor_[m], static_cast<int32_t>(m));
  }
  std::sort(counts.begin(), counts.end());
  for (const auto& [count, m] : counts) {
    if (result.run_count == 0 || runs_.back().count != count) {
      runs_.push_back({static_cast<int32_t>(count), 0});
      ++result.run_count;
    }
    ++runs_.back().rows;
    order_.push_back(m);
    for (int64_t& i = cursor_[m]; count > 0 && i < matrix.first[m + 1]; ++i) {
      if (matrix.columns[i] >= past) break;
      const auto row = std::lower_bound(used.begin() + kept.begin, used.begin() + kept.end,
                                        matrix.columns[i]) - (used.begin() + kept.begin);
      entries_.push_back({matrix.values[i], static_cast<uint16_t>(row)});
    }
  }
  return result;
}

}  // namespace wfpipe
