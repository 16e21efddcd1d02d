// c10d's header includes this file of Gloo, and uses nothing of it.
#pragma once
