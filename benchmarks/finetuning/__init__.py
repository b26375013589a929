"""Fine-tuning on a new domain, with and without structure: two transfers, two numbers of images, seven methods, paired seeds.

python -m benchmarks.finetuning --run                 # search, then the grid; resumable
python -m benchmarks.finetuning --run --only search   # that part alone
python -m benchmarks.finetuning --summary
"""
