// Declares what c10d's header for Gloo names: the wheel of libtorch lacks Gloo's own headers. c10d's header uses only the
// names, and all code is in libtorch.
#pragma once

namespace gloo {
class Algorithm;
}
