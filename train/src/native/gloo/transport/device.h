// Declares what c10d's header for Gloo names; see algorithm.h.
#pragma once

namespace gloo::transport {
class Device;
}
