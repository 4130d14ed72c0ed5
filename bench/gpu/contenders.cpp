#include "contender.hpp"

namespace bench {

Contenders all_contenders() {
  Contenders contenders;
  add_before(contenders);
  add_reference(contenders);
  add_ours(contenders);
  add_move(contenders);
  add_stream(contenders);
  add_empty(contenders);
  return contenders;
}

}  // namespace bench
