#!/bin/bash -eu
# Copyright 2026 The stackdrain authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
#
################################################################################
# The same build as OSS-Fuzz's, of the checkout that the CI job has.
exec bash -eu "$SRC/stackdrain/fuzz/oss-fuzz/build.sh"
