import time
from tests.training.tiny import *
def test_a(warm, footage, tmp_path, uninterrupted):
    t=time.time()
    print(warm.run(overrides("mae", footage, tmp_path, "a"))); print(time.time()-t)
    assert_same_run(uninterrupted/"mae", tmp_path/"a")
    for m in metrics_of(tmp_path/"a"): print(m)
    t=time.time()
    warm.run(overrides("jepa", footage, tmp_path, "b", "data.workers=2")); print(time.time()-t)
    assert_same_run(uninterrupted/"jepa", tmp_path/"b")
    t=time.time()
    print(warm.run_world(2, overrides("mae", footage, tmp_path, "d", "runtime=ddp", "runtime.accelerator=cpu"))); print(time.time()-t)
    print(assert_close_numbers(tmp_path/"a", tmp_path/"d", ["loss","grad_norm"], 1e-5))
    print(warm.run_world(2, overrides("jepa", footage, tmp_path, "e", "runtime=fsdp", "runtime.accelerator=cpu"))); print(time.time()-t)
    print(assert_close_numbers(tmp_path/"b", tmp_path/"e", ["loss","grad_norm"], 1e-5))
