#include "contender.hpp"

namespace bench {

Contenders all_contenders(bool search) {
  Contenders contenders;
  add_before(contenders);
  add_reference(contenders);
  add_ours(contenders);
  add_alone(contenders);
  if (search) add_search(contenders);
  add_move(contenders);
  add_move_rows(contenders);
  add_move_layouts(contenders);
  add_one_layout(contenders);
  add_stream(contenders);
  add_empty(contenders);
  return contenders;
}

}  // namespace bench
